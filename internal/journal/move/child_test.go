package move_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/testutil/cleanenv"
)

// childVariable makes the test binary a process that moves a journal until it is
// killed: path, URL and clock.
const childVariable = "INVOICEBOX_MOVE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		cleanenv.Use()
		os.Exit(m.Run())
	}
	at, err := strconv.ParseInt(os.Getenv(childVariable+"_AT"), 10, 64)
	if err == nil {
		f := &filled{clock: &clock{at: time.UnixMicro(at).UTC()}}
		_, err = f.run(context.Background(), os.Getenv(childVariable), os.Getenv(childVariable+"_URL"), sides{}, func(p move.Progress) { fmt.Println("progress", p.Table) })
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println("moved")
}

// A process that is killed leaves what the next one goes on with.
func killed(t *testing.T, f *filled, database func(*testing.T) string) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	path, address := f.image(t), database(t)
	for _, lines := range []int{1, 6, 18, 25, 33} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+path, childVariable+"_URL="+address, childVariable+"_AT="+strconv.FormatInt(f.clock.now().UnixMicro(), 10))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := bufio.NewScanner(out)
		for n := 0; n < lines && said.Scan(); n++ {
			if word := said.Text(); word[:5] != "progr" {
				t.Fatalf("the child says %q", word)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	r, err := f.run(t.Context(), path, address, sides{}, nil)
	if err == nil && !r.Resumed {
		t.Fatalf("it began again: %+v", r)
	}
	if err != nil { // the last child may have come to the end
		t.Log(err)
	}
	same(t, f.opened(t)(f.openSource(t.Context(), f.image(t))), f.opened(t)(f.openTarget(t.Context(), address)), 1)
}
