"""
How a clause says which law was broken: by the sentence of the port's docstring.
"""

from __future__ import annotations


def session_law(operation: str, sentence: str) -> str:
    """
    The message for a broken law of one operation of a session store.
    """
    return _message(f"sessioncore.ports.SessionStore.{operation}", sentence)


def async_session_law(sentence: str) -> str:
    """
    The message for a broken law of asynchronous session stores alone.
    """
    return _message("sessioncore.ports.AsyncSessionStore", sentence)


def credential_law(operation: str, sentence: str) -> str:
    """
    The message for a broken law of one operation of a credential store, or of all if it is empty.
    """
    return _message(f"sessioncore.ports.CredentialStore.{operation}", sentence)


def shared_law(sentence: str) -> str:
    """
    The message for a broken law of those that all operations share.
    """
    return _message("sessioncore.ports", sentence)


def _message(place: str, sentence: str) -> str:
    return f'the store breaks a law of {place.rstrip(".")}: "{sentence}"'
