"""
Sessions for fastapi.
"""
