package steps

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

// importTopic stands for the topic of the events of imports.
const importTopic = "(import)"

const topicNamed Query = "SELECT id FROM topic WHERE name = $1"

// ImportShop makes credentials current that a shop had before.
func (j *Journal) ImportShop(ctx context.Context, i journal.ShopImport) (next int64, err error) {
	wanted := new(int64) // the writer's until the request is done
	err = j.db.Write(ctx, &Request{
		Needs: Needs{Shops: []journal.ShopKey{i.Event.Shop}}, Records: 1,
		Do: func(u *Unit) (err error) {
			*wanted, err = u.importShop(&i)
			return err
		},
	})
	if err != nil && ctx.Err() != nil {
		return 0, err
	}
	return *wanted, err
}

func (u *Unit) importShop(i *journal.ShopImport) (next int64, err error) {
	if err := u.checkKeys(); err != nil {
		return 0, err
	}
	e, made := &i.Event, i.Made
	if _, ok := u.tx.AccountID(e.Shop.Account); !ok {
		return 0, fmt.Errorf("%w: account %q", journal.ErrNotFound, e.Shop.Account)
	}
	s := u.shop(e.Shop)
	switch {
	case made.Credential == nil || made.Active == nil || made.Intent == nil || len(e.SubjectMACs) == 0 || len(e.Digests) == 0:
		return 0, fmt.Errorf("journal: an import needs an event, credentials and an action")
	case s.ActiveVersion != 0:
		return 0, journal.ErrStale
	case made.Credential.Version <= s.Version: // it may be higher: a store numbers by itself
		return s.Version + 1, journal.ErrVersionTaken
	}
	if u.merchantConflicts(s, made.Credential) {
		return 0, journal.ErrMerchantConflict
	}
	topic, id := u.topic(importTopic), u.next(EventIDs)
	u.openedElsewhere()
	in := &ingestion{Unit: u, batch: &journal.Batch{}, got: &journal.Ingested{}, topic: topic}
	row := &rows.Event{ID: id, Identity: e.Identity[:], Shop: s.ID, Kind: e.Kind, Topic: topic, EventTime: e.Time.UnixMicro(), Received: u.now, Digest: e.Digests[0],
		Type: e.Type, Source: e.Source, EventID: e.ID}
	if err := in.carryOut(&plan{Plan: journal.Plan{New: &journal.NewOperation{UUID: i.Operation, Attention: i.Reason}}, event: e, row: row, shop: s}); err != nil {
		return 0, err
	}
	u.insert(u.j.tables.event, row)
	made.Ref, made.From, made.Reason = journal.ClaimRef{Operation: id}, journal.Attention, i.Reason
	return 0, u.apply(&made)
}

// topic finds a topic, or inserts it.
func (u *Unit) topic(name string) int64 {
	if id := firstInt(u, topicNamed, name); id != 0 {
		return id
	}
	u.exec(topicInsert, name)
	return firstInt(u, topicNamed, name)
}
