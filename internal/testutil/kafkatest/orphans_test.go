package kafkatest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"invoicebox-worker/internal/testutil/cleanenv"
	"invoicebox-worker/internal/testutil/kafkatest"
)

const (
	holderVariable = "KAFKATEST_HOLDER"
	holderSays     = "broker at "
)

// TestMain lets the test binary be its own child, which starts a broker and
// waits to be killed.
func TestMain(m *testing.M) {
	if os.Getenv(holderVariable) == "" {
		cleanenv.Use()
		goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("invoicebox-worker/internal/testutil/kafkatest.(*node).own"))
		return
	}
	c, err := kafkatest.StartReal(context.Background(), kafkatest.Config{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(holderSays + c.Brokers()[0])
	select {}
}

func testRealBrokersEndWithTestBinary(t *testing.T) {
	t.Parallel()
	kafkatest.Shared(t) // skips here, not in the child
	java, err := exec.LookPath("java")
	if err != nil {
		t.Fatal(err)
	}

	t.Run("files", func(t *testing.T) {
		t.Parallel()
		temporary, _ := killHolder(t, os.Getenv("PATH"))
		eventually(t, func() error {
			left, err := os.ReadDir(temporary)
			if err == nil && len(left) > 0 {
				return fmt.Errorf("%s is left", left[0].Name())
			}
			return err
		})
	})

	// A broker whose files are gone ends by itself, sooner or later. So that
	// nothing but the kernel can end it here, there is no rm to be found.
	t.Run("process", func(t *testing.T) {
		t.Parallel()
		programs := t.TempDir()
		if err := os.Symlink(java, filepath.Join(programs, "java")); err != nil {
			t.Fatal(err)
		}
		_, address := killHolder(t, programs)
		eventually(t, func() error {
			if conn, err := dial(t, address); err == nil {
				return errors.Join(errors.New("the broker is there"), conn.Close())
			}
			return nil
		})
	})
}

// killHolder starts the other process with a temporary folder and a PATH of its
// own, and kills it when its broker is there.
func killHolder(t *testing.T, path string) (temporary, address string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	temporary = t.TempDir()
	holder := exec.CommandContext(t.Context(), program)
	holder.Env = append(os.Environ(), holderVariable+"=1", "TMPDIR="+temporary, "PATH="+path)
	output, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for lines := bufio.NewScanner(output); address == "" && lines.Scan(); {
		said = append(said, lines.Text())
		if found, ok := strings.CutPrefix(lines.Text(), holderSays); ok {
			address = found
		}
	}
	if address != "" {
		if conn, err := dial(t, address); err != nil {
			t.Errorf("the child's broker: %v", err)
		} else {
			_ = conn.Close()
		}
	}
	if err := holder.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	_ = holder.Wait()
	if address == "" {
		t.Fatalf("the child started no broker: %s", strings.Join(said, "\n"))
	}
	return temporary, address
}

func dial(t *testing.T, address string) (net.Conn, error) {
	t.Helper()
	return (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", address)
}

// eventually fails the test when f has not succeeded within 30 seconds.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatal(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
