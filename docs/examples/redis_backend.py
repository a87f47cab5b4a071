"""A backend over Redis, or anything else with these five commands. The client is that of the
package ``redis``."""
from atasker_like import Backend


class RedisBackend(Backend):
    """Keeps results in Redis, under a prefix, so that all machines see them."""

    def __init__(self, client, prefix="result:", **options):
        super().__init__(**options)
        # connects on first use, and may be used by several threads at once
        self._client = client
        self._prefix = prefix

    def close(self):
        self._client.close()

    def write(self, entries):
        pipeline = self._client.pipeline(transaction=True)
        for task_id, text in entries:
            life = None if self.ttl is None else max(1, int(self.ttl * 1000))
            pipeline.set(self._prefix + task_id, text, px=life)
        pipeline.execute()

    def read(self, task_id):
        found = self._client.get(self._prefix + task_id)
        return None if found is None else found.decode()

    def delete(self, task_id):
        return self._client.delete(self._prefix + task_id) == 1

    def keys(self):
        return [key[len(self._prefix):].decode()
                for key in self._client.scan_iter(self._prefix + "*", count=1000)]

    def check(self):
        self._client.ping()
