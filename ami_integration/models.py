"""Every model of every room, collected for Django."""

from ami_integration.servers.models import Server, ServerHealth

__all__ = ["Server", "ServerHealth"]
