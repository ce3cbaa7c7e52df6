"""Prepare the log records of jobs' processes for our log."""

import logging

# The SDK marks callers' words with this prefix.
_PERSONAL = "lk.pii."
# The media library logs this at the end of every call.
_MEANINGLESS = "Attempted to drop unknown FFI handle"


class JobRecords(logging.Filter):
    """Removes what people said, and fields that the SDK's transport leaves on a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass every record on, changed, except meaningless ones."""
        if _MEANINGLESS in str(record.msg):
            return False
        for name in [name for name in vars(record) if name.startswith(_PERSONAL)]:
            delattr(record, name)
        if "message" in vars(record):
            del record.message
            _split_traceback(record)
        return True


def _split_traceback(record: logging.LogRecord) -> None:
    # The job's process has formatted the record, so its traceback is at the end of the message.
    if record.exc_text and isinstance(record.msg, str):
        record.msg = record.msg.removesuffix(record.exc_text).rstrip()
        record.exception = record.exc_text
