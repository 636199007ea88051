"""
sessioncore for Flask.
"""
