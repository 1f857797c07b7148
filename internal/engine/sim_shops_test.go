package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/schemas"
)

// operate is the operator who disconnects shops now and then, and the worker's part that
// executes what the operator asks for.
func (w *simWorker) operate() {
	s := w.s
	for entries := newTokenEntries(); w.sleep(time.Second + s.within(2*time.Minute)); {
		if k, ok := s.anyShop(); ok && s.faults.on && s.rng.IntN(2) == 0 {
			_ = s.call(w.phases.accept, "AppendIntent", true, func() error { return s.askDisconnect(k) })
		}
		_ = w.engine.readActions(w.phases, entries)
	}
}

// anyShop draws a shop, mostly one that is active.
func (s *sim) anyShop() (journal.ShopKey, bool) {
	stage := journal.ActiveShop
	if s.rng.IntN(8) == 0 {
		stage = journal.AnyShop
	}
	list, err := s.j.Shops(context.Background(), journal.ShopFilter{Stage: stage, Limit: 100})
	if err != nil || len(list) == 0 {
		return journal.ShopKey{}, false
	}
	return list[s.rng.IntN(len(list))].Shop, true
}

func (s *sim) askDisconnect(k journal.ShopKey) error {
	n := s.counts["disconnect asked"]
	s.counts["disconnect asked"]++
	i := journal.Intent{
		UUID: uuid.NewSHA1(uuid.Nil, fmt.Append(nil, "disconnect ", n)), At: time.Now(), Actor: "anna", Act: string(onboarding.ActionDisconnect), Account: k.Account, Shop: k.Shop,
	}
	i.MAC = s.keys.authenticate(keyset.DomainIntent, i.Authentic()...)
	return s.j.AppendIntent(context.Background(), i, journal.AuditEntry{At: i.At, Actor: i.Actor, Act: "disconnect.asked", Subject: onboarding.ActionSubject(i)})
}

func (j *simJournal) PendingIntents(ctx context.Context, limit int, skip []int64) (list []journal.PendingIntent, err error) {
	err = j.s.call(ctx, "PendingIntents", false, func() (err error) {
		list, err = j.s.j.PendingIntents(ctx, limit, skip)
		return err
	})
	return list, err
}

func (j *simJournal) ActOnShop(ctx context.Context, a journal.ShopAction) error {
	return j.s.call(ctx, "ActOnShop", true, func() error {
		var change journal.ShopChange
		var seen journal.ShopSituation
		decide := a.Decide
		a.Decide = func(x journal.ShopSituation) journal.ShopChange {
			seen, change = x, decide(x)
			return change
		}
		err := j.s.j.ActOnShop(ctx, a)
		j.s.note("act on shop %s: %s, %v", seen.Shop.Shop, change.Intent.Result, err)
		if err == nil {
			j.s.counts["disconnect "+change.Intent.Result]++
			j.s.model.acted(seen, change)
		}
		return err
	})
}

// acted: nothing of the shop is under way when it is disconnected.
func (b *simModel) acted(x journal.ShopSituation, change journal.ShopChange) {
	if change.Disconnect == nil {
		return
	}
	for _, r := range b.s.box.open {
		if r.attempt != nil && r.attempt.op.Shop == x.Shop && r.ended.IsZero() && time.Now().Before(r.limit) {
			b.s.wrong("shop %s is disconnected while a request of operation %d is on its way", x.Shop.Shop, r.attempt.op.Ref.Operation)
		}
	}
	b.s.disconnected[x.Shop] = x.Active.Version
}

func (j *simJournal) ClaimDestructions(ctx context.Context, limit int, lease time.Duration) (list []journal.Destruction, err error) {
	err = j.s.call(ctx, "ClaimDestructions", true, func() (err error) {
		list, err = j.s.j.ClaimDestructions(ctx, limit, lease)
		return err
	})
	return list, err
}

// EndDestruction looks whether the secret is one that a shop uses.
func (j *simJournal) EndDestruction(ctx context.Context, d journal.Destruction, audit journal.AuditEntry) error {
	s := j.s
	return s.call(ctx, "EndDestruction", true, func() error {
		_, token, opens := s.secret(d.Credential)
		err := s.j.EndDestruction(ctx, d, audit)
		s.note("version %d of shop %s is destroyed: %v", d.Credential.Version, d.Credential.Shop.Shop, err)
		if err != nil {
			return err
		}
		s.counts["secret destroyed"]++
		if !opens {
			s.wrong("a destroyed secret of shop %s did not open before", d.Credential.Shop.Shop)
		}
		s.destroyed[d.Credential.Reference] = token
		if c, err := s.j.PublishedCredential(context.Background(), d.Credential.Shop); err == nil && c.Version == d.Credential.Version {
			s.wrong("the secret that shop %s uses is destroyed", d.Credential.Shop.Shop)
		}
		if c, err := s.j.Credential(context.Background(), d.Credential.Shop, d.Credential.Version); err != nil || c.Sealed != nil {
			s.wrong("a destroyed secret is still there: %v", err)
		}
		return nil
	})
}

// finishedDisconnect: a shop whose last word was that it is disconnected is not active, and
// any other that was disconnected has newer credentials.
func (s *sim) finishedDisconnect(k journal.ShopKey, h journal.ShopHistory) {
	version, was := s.disconnected[k]
	if !was {
		return
	}
	last := ""
	for _, e := range s.topic.events {
		if accountOf(e.Data) == k.Account && e.Subject == k.Shop && (e.Type == schemas.TypeActivated || e.Type == schemas.TypeDisconnected) {
			last = e.Type
		}
	}
	if active := h.Active != nil; active != (last == schemas.TypeActivated) {
		s.wrong("shop %s is active %v, and its last event is %s", k.Shop, active, last)
	}
	if h.Active != nil && h.Active.Version <= version {
		s.wrong("shop %s uses version %d, and version %d was disconnected", k.Shop, h.Active.Version, version)
	}
}
