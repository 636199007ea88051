"""
Sessions for litestar.
"""
