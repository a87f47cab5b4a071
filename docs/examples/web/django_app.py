"""A Django project in one file, whose tasks outlive their requests."""
import signal
import sys
from contextlib import contextmanager

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, connection
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

import reports
from atasker_like import TT_MP, background_task

settings.configure(
    DEBUG=False, SECRET_KEY="an example", ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})


@contextmanager
def database():
    """Close the connections of a pool thread that are broken or too old, as a request does."""
    close_old_connections()
    try:
        yield connection
    finally:
        close_old_connections()


@background_task
def add(number):
    with database() as its, its.cursor() as cursor:
        cursor.execute("SELECT %s + 1", [number])
        return cursor.fetchone()[0]


# in a thread
write = background_task(reports.write)
# in a process
count = background_task(reports.count, tt=TT_MP)


@csrf_exempt
def accept(request, number):
    # returns at once
    write(number)
    count(number)
    return JsonResponse({"accepted": number})


def sums(request, number):
    return JsonResponse({"sum": add(number).value(timeout=10)})


urlpatterns = [path("reports/<int:number>", accept), path("sums/<int:number>", sums)]
application = get_wsgi_application()

# manage.py
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))
    execute_from_command_line(sys.argv)
