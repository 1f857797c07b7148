//go:build !linux

package kafkatest

import (
	"errors"
	"os"
	"os/exec"
)

// Elsewhere nothing ends a child for certain when the test binary is killed, so
// no broker is started: what follows is never reached.
const canStartReal = false

func isolate(*exec.Cmd)           {}
func outlive(*exec.Cmd)           {}
func terminate(*os.Process) error { return errors.ErrUnsupported }
func suspend(*os.Process) error   { return errors.ErrUnsupported }
func resume(*os.Process) error    { return errors.ErrUnsupported }
