package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
)

// The server ends all sessions again and again, as a fail-over or an operator
// does: replicas go on, no request is made twice, and all that is due is done.
func testKilled(b *bed) {
	const n = 200
	js := []*Journal{b.open(), b.open(), b.open()}
	b.codes(js[0], n)
	var mu sync.Mutex
	sent := make(map[int64]int)
	done := func() bool {
		s, err := js[0].Stats(b.Context())
		return err == nil && len(s.Operations) == 0
	}
	ctx, stop := context.WithCancel(b.Context())
	var all sync.WaitGroup
	for _, j := range js {
		for range 4 {
			all.Go(func() {
				for ctx.Err() == nil {
					takeOn(ctx, j, func(o journal.ClaimedOperation) {
						mu.Lock()
						defer mu.Unlock()
						sent[o.Ref.Operation]++
					})
				}
			})
		}
	}
	for range 15 {
		<-time.After(100 * time.Millisecond)
		b.end(js[0].config.Database)
	}
	b.eventually("not all is done", done)
	stop()
	all.Wait()
	for id, times := range sent {
		if times > 1 {
			b.Errorf("operation %d was sent %d times", id, times)
		}
	}
}

// end ends every session of a database.
func (b *bed) end(database string) {
	conn, err := pgx.Connect(b.Context(), b.server.URL("postgres"))
	b.ok(err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(b.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
	b.ok(err)
}

// takeOn takes operations as far as it can: what fails is left to whoever looks
// when the lease has ended. Where a commit's answer was lost nobody knows that it
// holds one.
func takeOn(ctx context.Context, j *Journal, sent func(journal.ClaimedOperation)) {
	_, _, _ = j.ReleaseExpiredLeases(ctx) // an error is what this is about
	r := journal.ClaimRequest{Account: "default", Kind: journal.Activate, Stage: journal.Settle, Limit: 5, Lease: 2 * time.Second}
	left, _ := j.Claim(ctx, r)
	for _, o := range left {
		_ = j.Apply(ctx, journal.Transition{Ref: o.Ref, From: o.State, To: journal.Done})
	}
	r.Stage = journal.Call
	due, err := j.Claim(ctx, r)
	if err != nil || len(left)+len(due) == 0 {
		<-time.After(5 * time.Millisecond)
	}
	for _, o := range due {
		id, err := j.BeginAttempt(ctx, journal.AttemptStart{Ref: o.Ref, Attempt: o.Attempts + 1, SendBy: time.Second, Deadline: time.Second})
		if err != nil {
			_ = j.Apply(ctx, journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Planned})
			continue
		}
		sent(o)
		_ = j.Apply(ctx, journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Done, Attempt: id, End: &journal.AttemptEnd{Answered: true, At: time.Now()}})
	}
}
