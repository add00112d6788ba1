# SPDX-License-Identifier: Apache-2.0
"""Server reflection, ``grpc.reflection.v1`` and ``v1alpha``: what services there are, and their descriptors.

Only what is served can be asked for: the services of the registered methods, and the files those need. The
two versions differ in their package name alone, so one handler does both.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, cast

from google.protobuf.descriptor import FileDescriptor

from mezite.api.pb.grpc.reflection.v1 import reflection_pb2
from mezite.api.pb.grpc.reflection.v1alpha import reflection_pb2 as reflection_alpha_pb2
from mezite.api.rpc import CallContext, CallKind, RpcMethod, StatusCode
from mezite.api.server_call import RequestStream, ResponseStream

__all__ = ["reflection_methods"]

_VERSIONS = {"v1": reflection_pb2, "v1alpha": reflection_alpha_pb2}


def reflection_methods(served: Iterable[RpcMethod]) -> list[RpcMethod]:
    """The methods to register beside those ``served``, which they describe together with themselves."""
    methods: list[RpcMethod] = []
    catalogue = _Catalogue()
    for version, module in _VERSIONS.items():
        method = RpcMethod(
            path=f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_type=module.ServerReflectionRequest,
            response_type=module.ServerReflectionResponse,
            kind=CallKind.BIDI,
            handler=_Reflection(module, catalogue).serve,
            verb="reflection.read",
            resource="cluster",
            public=True,
        )
        methods.append(method)
    for method in [*served, *methods]:
        catalogue.add(method)
    return methods


class _Catalogue:
    """The services that are served and the files that describe them."""

    def __init__(self) -> None:
        self.services: set[str] = set()
        self._files: dict[str, FileDescriptor] = {}

    def add(self, method: RpcMethod) -> None:
        if method.service not in self.services:
            self.services.add(method.service)
            pool = method.request_type.DESCRIPTOR.file.pool
            self._add_file(cast(FileDescriptor, pool.FindServiceByName(method.service).file))

    def _add_file(self, file: FileDescriptor) -> None:
        if file.name not in self._files:
            self._files[file.name] = file
            for needed in file.dependencies:
                self._add_file(needed)

    def file_named(self, name: str) -> FileDescriptor | None:
        return self._files.get(name)

    def file_of_symbol(self, symbol: str) -> FileDescriptor | None:
        """A file is found by its services, methods, messages and enums, nested ones too."""
        return next((file for file in self._files.values() if symbol in _symbols(file)), None)


def _symbols(file: FileDescriptor) -> set[str]:
    symbols = {service.full_name for service in file.services_by_name.values()}
    for service in file.services_by_name.values():
        symbols.update(method.full_name for method in service.methods)
    symbols.update(enum.full_name for enum in file.enum_types_by_name.values())
    messages = list(file.message_types_by_name.values())
    while messages:
        message = messages.pop()
        symbols.add(message.full_name)
        symbols.update(enum.full_name for enum in message.enum_types)
        messages.extend(message.nested_types)
    return symbols


def _closure(file: FileDescriptor) -> list[FileDescriptor]:
    """The file and all that it imports, itself first."""
    found = {file.name: file}
    todo = [file]
    while todo:
        for needed in todo.pop().dependencies:
            if needed.name not in found:
                found[needed.name] = needed
                todo.append(needed)
    return list(found.values())


class _Reflection:
    """The service in one of its versions."""

    def __init__(self, module: ModuleType, catalogue: _Catalogue) -> None:
        self._pb: Any = module
        self._catalogue = catalogue

    async def serve(self, requests: RequestStream, _context: CallContext, responses: ResponseStream) -> None:
        async for request in requests:
            await responses.send(self._answer(request))

    def _answer(self, request: Any) -> Any:
        asked = request.WhichOneof("message_request")
        answer = self._pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
        if asked == "list_services":
            for name in sorted(self._catalogue.services):
                answer.list_services_response.service.add(name=name)
        elif asked == "file_by_filename":
            self._put_file(answer, self._catalogue.file_named(request.file_by_filename))
        elif asked == "file_containing_symbol":
            self._put_file(answer, self._catalogue.file_of_symbol(request.file_containing_symbol))
        else:
            # Extensions are a thing of proto2; we serve none.
            self._put_error(answer, StatusCode.NOT_FOUND, "no extensions are served")
        return answer

    def _put_file(self, answer: Any, file: FileDescriptor | None) -> None:
        if file is None:
            self._put_error(answer, StatusCode.NOT_FOUND, "not found")
            return
        serialized = [each.serialized_pb for each in _closure(file)]
        answer.file_descriptor_response.file_descriptor_proto.extend(serialized)

    def _put_error(self, answer: Any, code: StatusCode, message: str) -> None:
        answer.error_response.error_code = code
        answer.error_response.error_message = message
