"""
Passwords with Argon2id, no more at once than the machine can bear (ADR-0017).
"""

from sessioncore_argon2.aio import AsyncArgon2PasswordHasher as AsyncArgon2PasswordHasher
from sessioncore_argon2.hasher import Argon2PasswordHasher as Argon2PasswordHasher
from sessioncore_argon2.parameters import Argon2Parameters as Argon2Parameters
