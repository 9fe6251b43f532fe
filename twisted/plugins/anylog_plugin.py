"""Shows `anylog` to twistd; names only, so that `twistd --help` stays light."""

from twisted.application.service import ServiceMaker

anylog = ServiceMaker(
    "AnyLog node",
    "anylog.tap",
    "An edge data network node: takes readings in, keeps them safe, answers SQL.",
    "anylog",
)
