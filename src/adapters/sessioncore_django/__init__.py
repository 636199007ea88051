"""
sessioncore for Django.
"""
