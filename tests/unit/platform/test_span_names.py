"""The span names that we spell out match the semantic conventions."""

from opentelemetry.semconv._incubating.attributes import messaging_attributes, rpc_attributes
from opentelemetry.semconv.attributes import (
    db_attributes,
    error_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.semconv.schemas import Schemas

from shared.platform.tracing import span_names


def test_the_names_are_those_of_the_conventions_that_are_installed() -> None:
    assert span_names.SCHEMA_URL == Schemas.V1_44_0.value == list(Schemas)[-1].value
    assert span_names.HTTP_METHOD == http_attributes.HTTP_REQUEST_METHOD
    assert span_names.HTTP_ROUTE == http_attributes.HTTP_ROUTE
    assert span_names.HTTP_STATUS == http_attributes.HTTP_RESPONSE_STATUS_CODE
    assert f"{http_attributes.HTTP_REQUEST_HEADER_TEMPLATE}.x-request-id" == span_names.REQUEST_ID
    assert span_names.URL_PATH == url_attributes.URL_PATH
    assert span_names.URL_SCHEME == url_attributes.URL_SCHEME
    assert span_names.SERVER_ADDRESS == server_attributes.SERVER_ADDRESS
    assert span_names.ERROR_TYPE == error_attributes.ERROR_TYPE
    assert span_names.RPC_METHOD == rpc_attributes.RPC_METHOD
    assert span_names.MESSAGING_SYSTEM == messaging_attributes.MESSAGING_SYSTEM
    assert span_names.MESSAGING_DESTINATION == messaging_attributes.MESSAGING_DESTINATION_NAME
    assert span_names.MESSAGING_OPERATION == messaging_attributes.MESSAGING_OPERATION_TYPE
    assert span_names.DB_SYSTEM == db_attributes.DB_SYSTEM_NAME
    assert span_names.DB_COLLECTION == db_attributes.DB_COLLECTION_NAME
    assert span_names.DB_OPERATION == db_attributes.DB_OPERATION_NAME


def test_no_two_names_are_the_same() -> None:
    names = [value for name, value in vars(span_names).items() if name.isupper()]
    assert len(names) == len(set(names))
