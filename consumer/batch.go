package consumer

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// maxSealed bounds the record that a dead letter stores.
const maxSealed = 64 << 10

// kinds maps the input types to the operations that they ask for.
var kinds = map[string]journal.Kind{
	schemas.TypeProviderSelected: journal.Invite,
	schemas.TypeCodeEntered:      journal.Activate,
}

// A batcher turns the records of one partition into batches for the journal.
// It belongs to one goroutine.
type batcher struct {
	config *Config
	now    func() time.Time

	batch      journal.Batch
	deselected map[journal.ShopKey]struct{}
	reused     *reusedDeadLetters
	bytes      int // of the records in the batch
	stats      batchStats
	newest     time.Time // of the last record that was added; zero: none, or without a time
	began      time.Time // the batch
}

// begin empties the batcher; the next batch starts at position from.
func (b *batcher) begin(topic string, partition int, from int64) {
	b.batch = journal.Batch{Topic: topic, Partition: partition, From: from, Next: from, Keep: b.config.DeadLetters}
	b.reused = &reusedDeadLetters{}
	b.deselected = nil
	b.bytes = 0
	b.stats = batchStats{}
	b.newest, b.began = time.Time{}, b.now()
}

// add adds a record to the batch, or returns false if the batch must be ingested first.
// An error is a failure of the keys or of encoding, not of the record; then nothing was
// added.
func (b *batcher) add(m schemas.Message) (bool, error) {
	if b.full() {
		return false, nil
	}
	input, err := b.config.Decoder.Decode(m)
	if ignored, ok := errors.AsType[*schemas.IgnoredError](err); ok {
		b.ignore(ignored, m.Offset)
		b.batch.Next = m.Offset + 1
		return true, nil
	}
	if err != nil {
		invalid, ok := errors.AsType[*schemas.InvalidError](err)
		if !ok {
			return false, fmt.Errorf("consumer: decode a record: %w", err)
		}
		letter, err := b.deadLetter(m, invalid)
		if err != nil {
			return false, err
		}
		b.batch.DeadLetters = append(b.batch.DeadLetters, letter)
		b.bytes += len(letter.Sealed)
		b.stats.addDeadLetters(invalid.Reason, 1)
		b.stats.noteForLog(letter)
		b.batch.Next = m.Offset + 1
		return true, nil
	}
	shop := journal.ShopKey{Account: input.Account, Shop: input.Shop}
	// The journal cancels operations of deselected shops after it has stored the events
	// of the batch. A deselection must not cancel an event that follows it.
	if _, turned := b.deselected[shop]; turned {
		return false, nil
	}
	event, err := b.event(m, input, shop)
	if err != nil {
		return false, err
	}
	b.batch.Events = append(b.batch.Events, event)
	b.bytes += len(m.Key) + len(m.Value)
	if input.KeyDiffers {
		b.stats.keyMismatches++
	}
	if input.TimeDropped {
		b.stats.timesDropped++
	}
	b.batch.Next = m.Offset + 1
	return true, nil
}

// maxSingleDeadLetters is how many unreadable records of a batch become a dead letter
// each. Above it, one dead letter stands for all of them.
const maxSingleDeadLetters = 1000

// addItem adds an item: a record, or a range of unreadable records. It returns false if
// the batch must be ingested first; the part of a range that was added is then removed
// from it.
func (b *batcher) addItem(i *item) (bool, error) {
	if i.unreadable == nil {
		added, err := b.add(i.message)
		if added {
			b.newest = i.message.Time
		}
		return added, err
	}
	for u := i.unreadable; u.from < u.to; {
		if b.full() {
			return false, nil
		}
		m := schemas.Message{Topic: b.batch.Topic, Partition: b.batch.Partition, Offset: u.from, Time: u.time}
		next, records, where := u.from+1, int64(1), ""
		if u.records > maxSingleDeadLetters {
			next, records, where = u.to, u.records, fmt.Sprintf("a batch: all records up to offset %d", u.to-1)
		}
		id, digest, err := b.deadLetterID(m, fmt.Appendf(nil, "batch %08x", u.crc))
		if err != nil {
			return false, err
		}
		letter, err := b.newDeadLetter(m, id, digest, nil, &schemas.InvalidError{Reason: u.reason, Where: where})
		if err != nil {
			return false, err
		}
		letter.Size = int(min(u.size, math.MaxInt32))
		b.batch.DeadLetters = append(b.batch.DeadLetters, letter)
		b.stats.addDeadLetters(u.reason, int(records))
		b.stats.noteForLog(letter)
		u.from, b.batch.Next = next, next
	}
	return true, nil
}

// full reports whether the batch has reached a limit. Ignored records store nothing and
// do not count.
func (b *batcher) full() bool {
	return len(b.batch.Events)+len(b.batch.DeadLetters) >= b.config.BatchEvents ||
		len(b.deselected) >= 100*b.config.BatchEvents || b.bytes >= maxBatchBytes
}

func (b *batcher) ignore(i *schemas.IgnoredError, offset int64) {
	if b.stats.ignored == nil {
		b.stats.ignored = map[schemas.IgnoreReason]int{}
	}
	b.stats.ignored[i.Reason]++
	if i.NearMiss != "" {
		b.stats.nearMisses++
		if b.stats.nearMiss == "" {
			b.stats.nearMiss, b.stats.nearMissAt = i.NearMiss, offset
		}
	}
	if i.Reason != schemas.IgnoreOtherProvider || i.Shop == "" {
		return
	}
	shop := journal.ShopKey{Account: i.Account, Shop: i.Shop}
	if _, known := b.deselected[shop]; known {
		return
	}
	if b.deselected == nil {
		b.deselected = map[journal.ShopKey]struct{}{}
	}
	b.deselected[shop] = struct{}{}
	b.batch.Deselected = append(b.batch.Deselected, shop)
}

func (b *batcher) event(m schemas.Message, in schemas.Input, shop journal.ShopKey) (journal.Event, error) {
	keys := b.config.Keys
	kind, ok := kinds[in.Type]
	if !ok {
		return journal.Event{}, fmt.Errorf("consumer: no operation for events of type %s", in.Type)
	}
	digests, err := keys.MACs(keyset.DomainContent, in.Content)
	if err != nil {
		return journal.Event{}, err
	}
	id := in.ID
	if id == "" {
		id = schemas.RecordID(m.Topic, m.Partition, m.Offset, m.Time, digests[0])
	}
	domain, subject, look := keyset.DomainAddress, in.Email, schemas.NormalizeEmail(in.Email)
	if kind == journal.Activate {
		domain, subject, look = keyset.DomainCode, in.Code, schemas.NormalizeCode(in.Code)
	}
	macs, err := keys.MACs(domain, keyset.SubjectText(shop.Account, look.Reveal()))
	if err != nil {
		return journal.Event{}, err
	}
	sealed, err := keys.Seal([]byte(subject.Reveal()), keyset.SubjectAAD(kind.String(), shop.Account, shop.Shop, macs[0]))
	if err != nil {
		return journal.Event{}, err
	}
	reused := b.reused
	at, trusted := eventTime(in.Time, m.Time, b.now())
	if !trusted {
		b.stats.untrusted++
	}
	return journal.Event{
		Identity: schemas.Identity(m.Topic, in.Source, id), Digests: digests,
		Type: in.Type, Source: in.Source, ID: id, Time: at, Offset: m.Offset,
		TraceParent: in.TraceParent, TraceState: in.TraceState,
		Shop: shop, Kind: kind, SubjectMACs: macs, Sealed: sealed,
		ReusedLetter: func() (journal.DeadLetter, error) {
			letter, err := b.deadLetter(m, &schemas.InvalidError{
				Reason: schemas.ReasonIDReused, EventID: in.ID, Account: in.Account, Shop: in.Shop, TraceParent: in.TraceParent,
			})
			if err == nil {
				reused.note(letter)
			}
			return letter, err
		},
	}, nil
}

// deadLetter makes the dead letter of a record: the sealed record, and the event that
// reports it.
func (b *batcher) deadLetter(m schemas.Message, invalid *schemas.InvalidError) (journal.DeadLetter, error) {
	packed := MarshalRecord(m)
	id, digest, err := b.deadLetterID(m, packed)
	if err != nil {
		return journal.DeadLetter{}, err
	}
	var sealed []byte
	if len(packed) <= maxSealed {
		if sealed, err = b.config.Keys.Seal(packed, keyset.DeadLetterAAD(m.Topic, m.Partition, m.Offset, id.String())); err != nil {
			return journal.DeadLetter{}, err
		}
	}
	return b.newDeadLetter(m, id, digest, sealed, invalid)
}

// OpenLetter returns the record of a dead letter, as it lay at its position. The error is
// keyset.ErrOpen or keyset.ErrNoKey if it cannot be unsealed.
func OpenLetter(keys *keyset.Set, l journal.DeadLetterRecord) (schemas.Message, error) {
	packed, err := keys.Open(l.Sealed, keyset.DeadLetterAAD(l.Topic, l.Partition, l.Offset, l.Announce.ID.String()))
	if err != nil {
		return schemas.Message{}, err
	}
	m, err := UnmarshalRecord(packed)
	m.Topic, m.Partition, m.Offset = l.Topic, l.Partition, l.Offset
	return m, err
}

// deadLetterID computes the digest of a record's content, as far as it is known, and
// the id of the dead letter's event.
func (b *batcher) deadLetterID(m schemas.Message, content []byte) (id uuid.UUID, digest []byte, err error) {
	digest, err = b.config.Keys.MAC(keyset.DomainLetter, content)
	return schemas.DeadLetterID(m.Topic, m.Partition, m.Offset, m.Time, digest), digest, err
}

// newDeadLetter makes a dead letter from its parts. sealed is nil if the record is not
// stored.
func (b *batcher) newDeadLetter(m schemas.Message, id uuid.UUID, digest, sealed []byte, invalid *schemas.InvalidError) (journal.DeadLetter, error) {
	event := schemas.Event{
		ID:     id.String(),
		Source: b.config.Source, Type: schemas.TypeDeadLetter, Time: b.now().UTC(), CausationID: invalid.EventID, TraceParent: invalid.TraceParent,
		Data: schemas.DeadLetter{
			Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, EventID: invalid.EventID,
			Reason: invalid.Reason, Where: invalid.Where, Time: b.now().UTC(),
		},
	}
	// Encoded here, so that it cannot fail in the journal's transaction. The event of a
	// dead letter has no sequence.
	announcement, err := schemas.Encode(event, b.config.Format)
	if err != nil {
		return journal.DeadLetter{}, fmt.Errorf("consumer: encode the event of a dead letter: %w", err)
	}
	return journal.DeadLetter{
		Offset: m.Offset, EventID: invalid.EventID, Reason: string(invalid.Reason), Where: invalid.Where, Time: m.Time,
		Shop: journal.ShopKey{Account: invalid.Account, Shop: invalid.Shop}, Key: loggableKey(m.Key),
		Size: len(m.Key) + len(m.Value), Digest: digest, Sealed: sealed,
		Announce: journal.Draft{
			ID:     id,
			Type:   schemas.TypeDeadLetter,
			Freeze: func(int64) (schemas.Message, error) { return announcement, nil },
		},
	}, nil
}

// earliestTime is the first instant that is accepted as the time of an event. An
// earlier one is a default value, or seconds read as milliseconds.
var earliestTime = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// eventTime returns the time by which a shop's events are ordered: the event's own,
// else the record's. Both are of clocks that may be wrong. A time ahead of our clock is
// replaced by the record's time, or by our clock if that is ahead, too. A time before
// earliestTime counts as none, which is zero. trusted reports whether the event's time
// was used.
func eventTime(event, record, now time.Time) (at time.Time, trusted bool) {
	credible := func(t time.Time) bool { return !t.Before(earliestTime) && !t.After(now) }
	switch {
	case credible(event):
		return event, true
	case credible(record):
		return record, event.IsZero()
	case event.After(now), record.After(now):
		return now, false
	}
	return time.Time{}, event.IsZero()
}
