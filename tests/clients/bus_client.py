"""A program beside the update client, as a device has them: GLib's D-Bus, which Mender's own programs use too.

Each line of its input is a call: bus name, object, interface, method and text arguments, with tabs between them. Each
line of its output is a reply, an error or a signal of the update client's.
"""

import sys

from gi.repository import Gio, GLib

FLAGS = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
SIGNALS = [
    ("io.mender.AuthenticationManager", "io.mender.Authentication1", "JwtTokenStateChange"),
    ("io.thimble.Client", "org.freedesktop.DBus.Properties", "PropertiesChanged"),
]


def say(*words):
    print(*words, sep="\t", flush=True)


def on_signal(_bus, _sender, _path, _interface, member, arguments):
    say("signal", member, arguments.print_(False))


def on_reply(bus, result):
    try:
        reply = bus.call_finish(result)
        say("reply", reply.print_(False))
    except GLib.Error as error:
        name = Gio.DBusError.get_remote_error(error) or ""
        Gio.DBusError.strip_remote_error(error)
        say("error", name, error.message.replace("\n", " "))


def main():
    bus = Gio.DBusConnection.new_for_address_sync(sys.argv[1], FLAGS, None, None)
    for name, interface, member in SIGNALS:
        bus.signal_subscribe(name, interface, member, None, None, Gio.DBusSignalFlags.NONE, on_signal)
    # The bus has them all when it answers this.
    bus.call_sync("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId", None, None, 0, -1, None)
    loop = GLib.MainLoop()

    def on_line(channel, _condition):
        line = channel.readline()
        if not line:
            loop.quit()
            return False
        name, path, interface, member, *texts = line.rstrip("\n").split("\t")
        arguments = GLib.Variant.new_tuple(*[GLib.Variant("s", text) for text in texts])
        bus.call(name, path, interface, member, arguments, None, 0, 60000, None, on_reply)
        return True

    # Unbuffered: GLib watches the descriptor, not what Python has read ahead.
    class Input:
        def __init__(self):
            self.rest = b""

        def readline(self):
            while b"\n" not in self.rest:
                chunk = sys.stdin.buffer.raw.read(1)
                if not chunk:
                    return ""
                self.rest += chunk
            line, self.rest = self.rest.split(b"\n", 1)
            return line.decode() + "\n"

    lines = Input()
    GLib.io_add_watch(0, GLib.IO_IN | GLib.IO_HUP, lambda _fd, condition: on_line(lines, condition))
    say("ready", bus.get_unique_name())
    loop.run()


main()
