"""
Where sessioncore stands: beside the bare client library, and beside what people use instead.
"""
