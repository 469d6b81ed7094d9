"""The workflow's states, and what ends it at each."""

IN_ORDER = [
    "FHIR export",
    "Check export status",
    "Transfer to S3",
    "Pathling import",
    "Check import result",
    "Check import status",
]

# What no repetition mends: a fault of the sandbox, the state that it ends, and the error's name.
UNMENDABLE = [
    ("answers=kick-off:401", "FHIR export", "AuthenticationError"),
    ("answers=status:404", "Check export status", "ExportFailedError"),
    ("file-bad-json", "Transfer to S3", "IntegrityError"),
    ("answers=import-kick-off:403", "Pathling import", "AuthenticationError"),
    ("import-fails=400", "Check import status", "ImportFailedError"),
]
