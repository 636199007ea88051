"""
Settings of the whole test run.
"""

from hypothesis import settings

# How long one example takes is the machine's business, not the code's. Everything
# else stays Hypothesis' own: in CI it repeats the same examples in every run.
settings.register_profile("sessioncore", deadline=None)
settings.load_profile("sessioncore")
