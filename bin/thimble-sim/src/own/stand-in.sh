#!/bin/sh
# Stands in for programs that would restart or change a real device: notes the call, and does what can be done in the
# simulator. The boot loader's variables are lines NAME=VALUE. Whoever restarts the device does nothing more.
name=${0##*/}
env=/sim/boot-environment
echo "$name $*" >> /sim/calls
restart() {
  echo reboot >> /sim/restart
  while :; do sleep 1; done
}
case "$name" in
  systemctl)
    for word in "$@"; do
      case "$word" in
        -*) ;;
        reboot | poweroff | halt | kexec) restart ;;
        is-active | is-enabled) echo active; exit 0 ;;
        *) exit 0 ;;
      esac
    done ;;
  reboot | shutdown | poweroff | halt) restart ;;
  fw_printenv)
    [ "$1" = -n ] && { only=1; shift; }
    touch "$env"
    [ $# = 0 ] && exec cat "$env"
    for variable in "$@"; do
      line=$(grep "^$variable=" "$env") || { echo "## Error: \"$variable\" not defined" >&2; exit 1; }
      if [ "$only" ]; then echo "${line#*=}"; else echo "$line"; fi
    done ;;
  fw_setenv)
    touch "$env"
    if [ "$1" = -s ]; then
      [ "$2" = - ] && set -- -s /dev/stdin
      while read -r variable value; do
        variable=${variable%%=*}
        { grep -v "^$variable=" "$env"; [ -n "$value" ] && echo "$variable=$value"; } > "$env.new"
        mv "$env.new" "$env"
      done < "$2"
    else
      variable=$1; shift
      { grep -v "^$variable=" "$env"; [ $# -gt 0 ] && echo "$variable=$*"; } > "$env.new"
      mv "$env.new" "$env"
    fi ;;
esac
exit 0
