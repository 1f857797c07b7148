package e2e

import (
	"bytes"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// finish lets workers do what is left, and a person what is a person's.
func (r *chaosRig) finish(done *counter) {
	r.t.Helper()
	start := func() (list []*life) {
		for range r.layout.replicas {
			list = append(list, r.live())
		}
		return list
	}
	stop := func(list []*life, why string) {
		for _, l := range list {
			r.stop(l, why)
		}
	}
	last, quiet := start(), time.Now()
	for ; !r.settled(); <-time.After(200 * time.Millisecond) {
		if i := slices.IndexFunc(last, (*life).ended); i >= 0 {
			r.t.Fatalf("the worker ended by itself:\n%s", last[i].said())
		}
		if time.Since(quiet) > r.s.patience {
			r.t.Fatalf("after %v there is still something to do: %s\n%s", r.s.patience, r.left(), last[0].said())
		}
		speechless := func(l *life) bool { return l.said() == "" } // it does not listen to signals yet
		if list := r.paused(); len(list) > 0 && !slices.ContainsFunc(last, speechless) {
			stop(last, "SIGTERM for a person")
			r.resume(list, done)
			last = start()
		}
	}
	r.t.Logf("all was done %v after the faults had stopped", time.Since(quiet).Round(time.Second))
	stop(last, "SIGTERM at the end")
}

// stop asks a worker to end, as an operator does.
func (r *chaosRig) stop(l *life, why string) {
	r.t.Helper()
	l.over()
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Error(err)
	}
	if l.lasts(40 * time.Second) {
		r.t.Errorf("a worker did not end after SIGTERM:\n%s", l.said())
	} else if code := l.cmd.ProcessState.ExitCode(); code != 0 && !r.foundNoDatabase(l) {
		r.t.Errorf("exit status %d after SIGTERM:\n%s", code, l.said())
	}
	l.kill()
	r.ends(l, why)
}

// paused lists the accounts that only a person opens: the sandbox refuses some
// codes with 403, and three such answers in a row say that the account has lost
// its rights.
func (r *chaosRig) paused() []string {
	j := r.openJournal()
	defer func() { _ = j.Close() }()
	accounts, err := j.Accounts(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	var list []string
	for _, a := range accounts {
		if a.Circuit.State == journal.CircuitPaused && slices.Contains([]string{string(onboarding.ReasonRights), string(onboarding.ReasonRequest), string(onboarding.ReasonAnswers)}, a.Circuit.Reason) {
			list = append(list, a.Name)
		}
	}
	return list
}

// resume opens accounts in the journal, which nobody holds at the moment.
func (r *chaosRig) resume(accounts []string, done *counter) {
	r.t.Helper()
	j, err := r.journalWith(onboarding.NewPlanner(onboarding.PlannerOptions{Now: time.Now}))
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	for _, name := range accounts {
		if err := j.SetCircuit(r.t.Context(), name, journal.Circuit{State: journal.CircuitActive, Since: time.Now()}, nil); err != nil {
			r.t.Fatal(err)
		}
		done.add("accounts resumed by a person")
	}
}

// killWorkers lets worker after worker live for a while, in the place of one of
// the replicas.
func (r *chaosRig) killWorkers(place int, rnd *rand.Rand, over time.Time, done *counter) {
	r.t.Helper()
	frozenIn := 3 // of its lives: however short the run is, it has both deaths and one that is frozen
	if r.layout.replicas > 1 {
		frozenIn = 1 + place
	}
	for nth := 1; time.Now().Before(over); nth++ {
		l := r.live()
		// A dead member keeps its group waiting for ten seconds: a worker that is
		// to read anything has to live for longer.
		lasts := time.Duration(500+rnd.IntN(4500)) * time.Millisecond * time.Duration(r.layout.replicas)
		if nth == 1 || nth > 5 && rnd.IntN(100) < 30 {
			lasts = time.Duration(11_000+rnd.IntN(5000)) * time.Millisecond
		}
		alive := l.lasts(lasts)
		if alive && (nth == frozenIn || nth > 5 && rnd.IntN(100) < 15) {
			r.freeze(l)
			done.add("workers frozen")
			alive = l.lasts(time.Duration(rnd.IntN(3000)) * time.Millisecond)
		}
		switch {
		case !alive && r.foundNoDatabase(l):
			l.over()
			r.ends(l, "no database")
			done.add("starts without a database")
			nth--
			<-time.After(500 * time.Millisecond)
			continue
		case !alive:
			r.t.Errorf("a worker ended by itself:\n%s", l.said())
			l.over()
			r.ends(l, "by itself")
			return
		}
		// Before it has said anything it does not listen to signals either.
		if nth > min(3, r.layout.replicas) && rnd.IntN(100) < 12*min(2, r.layout.replicas) && l.said() != "" {
			r.stop(l, "SIGTERM")
			done.add("workers stopped")
			continue
		}
		l.kill()
		r.ends(l, "SIGKILL")
		done.add("workers killed")
		if r.layout.replicas > 1 {
			<-time.After(time.Duration(rnd.IntN(2500)) * time.Millisecond)
		}
	}
}

// foundNoDatabase tells whether a worker gave up because the database was not
// there when it started: once it has started it waits for it.
func (r *chaosRig) foundNoDatabase(l *life) bool {
	const started = `"msg":"started"`
	text, err := os.ReadFile(l.log)
	if err != nil || !l.ended() || bytes.Contains(text, []byte(started)) {
		return false
	}
	return slices.ContainsFunc(r.downsUntilNow(), func(s span) bool { return s.meets(l.from, time.Now()) })
}

// freeze stops a worker for longer than its leases and the quiet period.
func (r *chaosRig) freeze(l *life) {
	from := time.Now()
	if err := l.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		r.t.Error(err)
		return
	}
	<-time.After(r.s.lease + r.s.quiet + 2*time.Second)
	if err := l.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		r.t.Error(err)
	}
	l.frozen = append(l.frozen, span{from, time.Now()})
}

// endDatabases ends the database's server, in order, at once or with kill -9,
// and starts it again.
func (r *chaosRig) endDatabases(rnd *rand.Rand, stop <-chan struct{}, done *counter) {
	ways := []syscall.Signal{syscall.SIGKILL, syscall.SIGINT, syscall.SIGQUIT}
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(8000+rnd.IntN(8000)) * time.Millisecond):
		}
		r.mu.Lock()
		r.downs = append(r.downs, span{from: time.Now()})
		r.mu.Unlock()
		r.layout.server.Down(ways[n%len(ways)])
		done.add("databases ended")
		<-time.After(time.Duration(rnd.IntN(3000)) * time.Millisecond)
		r.layout.server.Up(r.t)
		r.mu.Lock()
		r.downs[len(r.downs)-1].to = time.Now()
		r.mu.Unlock()
	}
}

// downsUntilNow are the spans in which the database did not run.
func (r *chaosRig) downsUntilNow() []span {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.Clone(r.downs)
	if n := len(list); n > 0 && list[n-1].to.IsZero() {
		list[n-1].to = time.Now()
	}
	return list
}
