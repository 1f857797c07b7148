package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A network joins network namespaces with this machine's own by a bridge. A process in one
// of them is reached under an address of its own, and can be cut off.
type network struct {
	name   string
	subnet string // up to the last dot
}

// newNetwork makes so many namespaces, which end with the test. It needs root, and the
// program ip.
func newNetwork(t testing.TB, hosts int) (*network, error) {
	t.Helper()
	pid := os.Getpid()
	n := &network{name: fmt.Sprintf("pgtest%x", pid&0xffff), subnet: fmt.Sprintf("10.%d.%d.", 200+pid%50, pid/50%250)}
	t.Cleanup(func() {
		for i := range hosts {
			_ = ip("netns", "delete", n.namespace(i)) // it may not have been made
		}
		_ = ip("link", "delete", n.name)
	})
	err := errors.Join(
		ip("link", "add", n.name, "type", "bridge"),
		ip("address", "add", n.gateway()+"/24", "dev", n.name),
		ip("link", "set", n.name, "up"),
	)
	for i := range hosts {
		if err != nil {
			return nil, err
		}
		in := []string{"-n", n.namespace(i)}
		err = errors.Join(
			ip("netns", "add", n.namespace(i)),
			ip("link", "add", n.link(i), "type", "veth", "peer", "name", "eth0", "netns", n.namespace(i)),
			ip("link", "set", n.link(i), "master", n.name, "up"),
			ip(append(in, "address", "add", n.address(i)+"/24", "dev", "eth0")...),
			ip(append(in, "link", "set", "eth0", "up")...),
			ip(append(in, "link", "set", "lo", "up")...),
		)
	}
	return n, err
}

func ip(args ...string) error {
	if out, err := exec.CommandContext(context.Background(), "ip", args...).CombinedOutput(); err != nil { // #nosec G204 -- a program of this machine
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (n *network) namespace(i int) string { return fmt.Sprintf("%s-%d", n.name, i) }
func (n *network) link(i int) string      { return fmt.Sprintf("%sv%d", n.name, i) }
func (n *network) address(i int) string   { return fmt.Sprintf("%s%d", n.subnet, 10+i) }

// gateway is the address of this machine.
func (n *network) gateway() string { return n.subnet + "1" }

// start starts a program in a namespace.
func (n *network) start(i int, c *exec.Cmd) (err error) {
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer func() { _ = own.Close() }()
	other, err := os.Open("/run/netns/" + n.namespace(i))
	if err != nil {
		return err
	}
	defer func() { _ = other.Close() }()
	// A new process is in the namespace of the thread that makes it.
	runtime.LockOSThread()
	if err := unix.Setns(int(other.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("setns: %w", err)
	}
	err = c.Start()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("setns: %w", back)) // nothing else may run on this thread
	}
	runtime.UnlockOSThread()
	return err
}

// cut drops what is sent to a namespace and from it.
func (n *network) cut(i int) error { return ip("link", "set", n.link(i), "down") }

func (n *network) join(i int) error { return ip("link", "set", n.link(i), "up") }
