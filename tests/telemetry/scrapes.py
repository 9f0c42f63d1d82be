"""Asking for metrics as Prometheus does, and reading them by the official client's own parsers."""

import socket
import urllib.error
import urllib.request

TIMEOUT_S = 20


def get(url, accept="text/plain"):
    """(status, content type, text) of a GET."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode("utf-8")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode("utf-8")


def parsed(text):
    """{(name, (label, value) pairs in order): value} of a page in the plain format."""
    from prometheus_client.parser import text_string_to_metric_families

    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(url):
    """`parsed` of what is there."""
    status, _, text = get(url)
    assert status == 200, text
    return parsed(text)


def connect(port, host="127.0.0.1"):
    """A connection that says nothing yet."""
    return socket.create_connection((host, port), TIMEOUT_S)
