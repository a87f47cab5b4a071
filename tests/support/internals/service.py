"""Services, their servers and clients."""
from .replaced import Replaced

#: Seconds that a client has to read its answers when a server closes.
CLOSE_TIMEOUT = Replaced("_CLOSE_TIMEOUT")

#: Accepts one request.
ACCEPT = Replaced("_accept")


def local_server_of(service):
    """Return the server of a service for the clients in its process."""
    return service._get_local_server()


def lane_type_of(service):
    """Return the type of the tasks in the lane of a service."""
    return service._lane_tt()


def is_closing_server(server):
    return server._is_closing


def is_stuck(server):
    """Return True if a client does not read, has waiting requests, and none in flight."""
    return any(one._peer_not_reading and one._lines and not one._in_flight
               for one in list(server._connections))


def async_client_of(client):
    """Return the client that a client for threads uses."""
    return client._client


def connection_of(client):
    """Return the connection of a client, or None."""
    return client._connection


def transport_of(connection):
    """Return the transport of a connection, or None if it is closed."""
    return connection._transport


def room_of(connection):
    """Return the future that tells that there is room for a request again."""
    return connection._writable


def awaited_results_of(connection):
    """Return the answers that a client waits for."""
    return connection._results
