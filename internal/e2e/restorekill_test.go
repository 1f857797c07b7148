package e2e

import (
	"database/sql"
	"os/exec"
	"strings"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // a recovery's journal is looked at while it works
)

// killedAt starts a recovery and kills it as soon as its journal answers a
// question with more than zero. It is stopped first, so that it cannot go on
// while it is looked at. One that has ended its work by then is let end, and what
// it printed is returned.
func (r *rig) killedAt(sign string, args []string) (out []byte, done bool) {
	r.t.Helper()
	cmd := exec.Command(binary, args...) // #nosec G204 -- the program under test
	var said, printed strings.Builder
	cmd.Stderr, cmd.Stdout = &said, &printed
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	db, err := sql.Open("sqlite", "file:"+r.path("journal.db")+"?mode=rw&_pragma=busy_timeout(5000)")
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	// The tables may not be up to date yet.
	above := func(question string) bool {
		var n int
		return db.QueryRowContext(r.t.Context(), question).Scan(&n) == nil && n > 0
	}
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				r.t.Fatalf("the recovery failed: %v\n%s", err, said.String())
			}
			return []byte(printed.String()), true
		case <-tick.C:
		}
		if !above(sign) || cmd.Process.Signal(syscall.SIGSTOP) != nil {
			continue
		}
		if !above("SELECT count(*) FROM meta WHERE name = 'recovering'") {
			_ = cmd.Process.Signal(syscall.SIGCONT)
			sign = "SELECT 0"
			continue
		}
		_ = cmd.Process.Kill()
		if err := <-ended; err == nil {
			r.t.Error("the recovery ended well although it was killed")
		}
		return nil, false
	}
}
