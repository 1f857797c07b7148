//go:build !linux

package pgtest

import (
	"errors"
	"os/exec"
	"testing"
)

// A network needs Linux.
type network struct{}

var errNoNetwork = errors.New("only Linux has network namespaces")

func newNetwork(testing.TB, int) (*network, error) { return nil, errNoNetwork }

func (*network) address(int) string         { return "" }
func (*network) gateway() string            { return "" }
func (*network) start(int, *exec.Cmd) error { return errNoNetwork }
func (*network) cut(int) error              { return errNoNetwork }
func (*network) join(int) error             { return errNoNetwork }
