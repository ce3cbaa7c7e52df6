"""Make the records that come from the jobs' processes fit for our log."""

import logging

# The SDK marks what callers said with this prefix.
_PERSONAL = "lk.pii."
# The media library says so at the end of every call.
_MEANINGLESS = "Attempted to drop unknown FFI handle"


class JobRecords(logging.Filter):
    """Drops what people said, and what the SDK's transport leaves on a record that it has carried."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, changed, but for what means nothing at all."""
        if _MEANINGLESS in str(record.msg):
            return False
        for name in [name for name in vars(record) if name.startswith(_PERSONAL)]:
            delattr(record, name)
        if "message" in vars(record):
            del record.message
            _split_traceback(record)
        return True


def _split_traceback(record: logging.LogRecord) -> None:
    # The job's process has formatted the record: its traceback is at the end of the message.
    if record.exc_text and isinstance(record.msg, str):
        record.msg = record.msg.removesuffix(record.exc_text).rstrip()
        record.exception = record.exc_text
