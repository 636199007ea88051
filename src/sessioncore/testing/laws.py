"""
How a clause says which law was broken: by the sentence of the port's docstring.
"""

from __future__ import annotations


def session_law(operation: str, sentence: str) -> str:
    """
    The message for a broken law of one operation of a session store.
    """
    return _message(f"SessionStore.{operation}", sentence)


def credential_law(operation: str, sentence: str) -> str:
    """
    The message for a broken law of one operation of a credential store.
    """
    return _message(f"CredentialStore.{operation}", sentence)


def shared_law(sentence: str) -> str:
    """
    The message for a broken law of those that all operations share.
    """
    return _message("", sentence)


def _message(place: str, sentence: str) -> str:
    where = f"sessioncore.ports.{place}".rstrip(".")
    return f'the store breaks a law of {where}: "{sentence}"'
