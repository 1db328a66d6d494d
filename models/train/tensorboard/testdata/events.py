# SPDX-License-Identifier: Apache-2.0
"""Writes events.bin, an event file of TensorBoard, by Python's protocol buffers and a CRC-32C of its own:

    python3 events.py

Debian: python3-protobuf. Field numbers are those of event.proto and summary.proto of TensorFlow.
"""
import struct

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TYPES = {"double": 1, "float": 2, "int64": 3, "int32": 5, "string": 9, "message": 11, "bytes": 12}
MESSAGES = {
    "SessionLog": [("status", 1, "int32", "")],
    "Image": [("height", 1, "int32", ""), ("width", 2, "int32", ""), ("colorspace", 3, "int32", ""), ("encoded_image_string", 4, "bytes", "")],
    "Histogram": [("min", 1, "double", ""), ("max", 2, "double", ""), ("num", 3, "double", ""), ("sum", 4, "double", ""),
                  ("sum_squares", 5, "double", ""), ("bucket_limit", 6, "double", "*"), ("bucket", 7, "double", "*")],
    "Value": [("tag", 1, "string", ""), ("simple_value", 2, "float", "?"), ("image", 4, "message", "Image"), ("histo", 5, "message", "Histogram")],
    "Summary": [("value", 1, "message", "*Value")],
    "Event": [("wall_time", 1, "double", ""), ("step", 2, "int64", ""), ("file_version", 3, "string", "?"), ("summary", 5, "message", "Summary"),
              ("session_log", 7, "message", "SessionLog")],
}

file = descriptor_pb2.FileDescriptorProto(name="events.proto", package="events", syntax="proto2")
for name, fields in MESSAGES.items():
    message = file.message_type.add(name=name)
    for field, number, kind, more in fields:
        f = message.field.add(name=field, number=number, type=TYPES[kind], label=3 if more.startswith("*") else 1)
        if kind == "message":
            f.type_name = ".events." + more.lstrip("*")
        elif more == "*":
            f.options.packed = True
pool = descriptor_pool.DescriptorPool()
pool.Add(file)
Event = message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName("events.Event"))


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


def masked(data):
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(event):
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


events = [Event(wall_time=1.5e9, file_version="brain.Event:2"), Event(wall_time=1.5e9, step=301)]
events[1].session_log.status = 1
scalars = Event(wall_time=1.5e9, step=301)
scalars.summary.value.add(tag="loss/batch", simple_value=0.1)
scalars.summary.value.add(tag="accuracy/batch", simple_value=0)
pictures = Event(wall_time=1.5e9, step=1 << 40)
image = pictures.summary.value.add(tag="kernels/é").image
image.height, image.width, image.colorspace, image.encoded_image_string = 3, 400, 3, bytes(range(256))
histo = pictures.summary.value.add(tag="singular values/é").histo
histo.min, histo.max, histo.num, histo.sum, histo.sum_squares = 1, 4, 3, 7, 21
histo.bucket_limit.extend(1 + (i + 1) * ((4 - 1) / 30) for i in range(30))
histo.bucket.extend([1] + 9 * [0] + [1] + 18 * [0] + [1])
with open("events.bin", "wb") as out:
    for event in events + [scalars, pictures]:
        out.write(record(event))
