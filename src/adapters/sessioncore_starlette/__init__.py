"""
Sessions for starlette.
"""
