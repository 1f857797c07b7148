package kafkatest

import (
	"os"
	"os/exec"
	"syscall"
)

const canStartReal = true

// isolate puts a child into a process group of its own, so that the Ctrl-C for
// the test does not reach it, and has the kernel kill it when the thread that
// starts it ends.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// outlive puts a child into a process group of its own and lets it live on.
func outlive(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
func suspend(p *os.Process) error   { return p.Signal(syscall.SIGSTOP) }
func resume(p *os.Process) error    { return p.Signal(syscall.SIGCONT) }
