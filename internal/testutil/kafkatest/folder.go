package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// sweep removes the folder when its standard input ends, which is when the test
// binary is gone, however it went. The brokers are killed at the same moment and
// may still write, hence the tries.
const sweep = `trap '' INT TERM HUP
read -r _
i=0
while [ $((i += 1)) -le 50 ]; do
  rm -rf -- "$1" 2>/dev/null && [ ! -e "$1" ] && exit 0
  sleep 0.2
done
exit 1`

// folder is a temporary folder that goes with the test binary at the latest.
type folder struct {
	path     string
	sweeper  *exec.Cmd
	lifeline io.Closer // the sweeper's standard input
}

func newFolder() (*folder, error) {
	path, err := os.MkdirTemp("", "kafkatest-")
	if err != nil {
		return nil, err
	}
	// It must outlive whatever context there is.
	sweeper := exec.CommandContext(context.Background(), "/bin/sh", "-c", sweep, "sweep", path) //nolint:gosec // a path of our own making, as an argument
	f := &folder{path: path, sweeper: sweeper}
	outlive(f.sweeper)
	f.lifeline, err = f.sweeper.StdinPipe()
	if err == nil {
		err = f.sweeper.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kafkatest: watching over %s: %w", path, err), os.RemoveAll(path))
	}
	return f, nil
}

// close removes the folder and the process that watches over it. The brokers
// are gone by then, so nothing writes into it any more.
func (f *folder) close() error {
	err := os.RemoveAll(f.path)
	return errors.Join(err, f.lifeline.Close(), f.sweeper.Wait())
}
