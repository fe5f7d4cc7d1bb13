"""The platform's vocabulary: frozen values, enums, errors and pure rules.

Imports nothing of the rest of the package; everything else may import it.
"""
