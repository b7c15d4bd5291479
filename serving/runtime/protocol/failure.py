"""What a request ends with when there is no prediction: an HTTP status and one sentence."""


class RequestFailure(Exception):  # noqa: N818 - it is an answer, not an error of ours
    """A request that is answered with another status than 200."""

    def __init__(self, status: int, message: str) -> None:
        """The answer.

        Args:
            status: 4xx when the caller must change the request, 503 when the same request may work later, 500 when we are wrong.
            message: names the field, what was found, what is allowed.
        """
        super().__init__(message)
        self.status = status
        self.message = message


def mistake(place: str, found: str, allowed: str) -> RequestFailure:
    """A 400 that says where, what was found and what is allowed."""
    return RequestFailure(400, f"{place}: found {found}; allowed: {allowed}")
