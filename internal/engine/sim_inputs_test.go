package engine

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// A simRecord is one record of an input topic.
type simRecord struct {
	kind     journal.Kind
	shop     journal.ShopKey
	id       string
	value    string
	at       time.Time
	deselect bool // another provider was selected
}

// simInputs is the platform with its topic, one partition for each account, and
// the intake, which is the consumer without Kafka.
type simInputs struct {
	s       *sim
	left    int // records to come
	log     [][]simRecord
	arrival map[string]int // of events, by id: their place in the whole
	total   int
	ids     int
	taken   map[string]simRecord // ids of accepted records
}

func newSimInputs(s *sim, n int) *simInputs {
	return &simInputs{s: s, left: n, log: make([][]simRecord, len(s.setup.accounts)), arrival: map[string]int{}, taken: map[string]simRecord{}}
}

func (in *simInputs) badAddress(value string) bool { return strings.HasPrefix(value, "bad") }

// platform writes records, now and then.
func (in *simInputs) platform() {
	s := in.s
	for in.left > 0 {
		for range min(in.left, 1+s.rng.IntN(3)*s.rng.IntN(4)) {
			in.produce()
		}
		wait := 2 * time.Second
		switch s.rng.IntN(6) {
		case 0:
			wait = 5 * time.Minute
		case 1, 2:
			wait = time.Minute
		}
		s.block(time.Now().Add(s.within(wait)), func() bool { return false })
	}
}

func (in *simInputs) produce() {
	s := in.s
	in.left--
	part := s.rng.IntN(len(s.setup.accounts))
	account := s.setup.accounts[part]
	log := in.log[part]
	shop := fmt.Sprint("shop-", s.rng.IntN(s.setup.shops))
	in.ids++
	r := simRecord{id: fmt.Sprint("event-", in.ids), shop: journal.ShopKey{Account: account, Shop: shop}, at: time.Now()}
	switch draw := s.rng.IntN(20); {
	case draw == 0:
		r.deselect = true
	case draw <= 2 && len(log) > 0: // the same record again
		r = log[s.rng.IntN(len(log))]
	case draw == 3 && len(log) > 0: // the same id with other content
		r = log[s.rng.IntN(len(log))]
		r.value += "x"
	case draw < 10:
		r.kind = journal.Invite
		r.value = fmt.Sprintf("a%d@%s.example.com", s.rng.IntN(2), shop)
		if s.rng.IntN(12) == 0 {
			r.value = "bad-" + r.value
		}
		if s.rng.IntN(6) == 0 {
			r.at = r.at.Add(-time.Minute / s.setup.scale) // it was delayed on its way
		}
	default:
		r.kind = journal.Activate
		r.value = fmt.Sprintf("%s-code%d", shop, s.rng.IntN(s.setup.codes))
		if s.rng.IntN(10) == 0 {
			r.value = fmt.Sprintf("shop-%d-code%d", s.rng.IntN(s.setup.shops), s.rng.IntN(s.setup.codes)) // maybe another's
		}
		in.plant(account, r.value)
	}
	if r.value != "" && strings.HasSuffix(r.value, "x") && r.kind == journal.Activate {
		in.plant(account, r.value)
	}
	in.log[part] = append(log, r)
	s.note("platform: %v %s %s %s deselect %v", r.kind, r.id, r.shop.Shop, simName(r.value), r.deselect)
}

// plant makes a code known to Invoicebox.
func (in *simInputs) plant(account, value string) {
	s := in.s
	key := account + " " + value
	if s.box.codes[key] != nil {
		return
	}
	shop, _, _ := strings.Cut(value, "-code")
	c := &simCode{account: account, value: value, merchant: "m-" + account + "-" + shop, kind: "once"}
	switch s.rng.IntN(10) {
	case 0:
		c.kind = "bad"
	case 1:
		c.kind = "same"
	case 2, 3:
		c.kind = "fresh"
	case 4:
		if s.rng.IntN(3) == 0 {
			c.merchant += "-other"
		}
	}
	s.box.codes[key] = c
}

func (in *simInputs) start(w *simWorker) {
	in.s.spawn(w, fmt.Sprintf("intake%d", w.generation), func() { in.read(w) })
}

func (in *simInputs) unread(next map[int]int64) bool {
	for i, log := range in.log {
		if at, known := next[i]; !known || at < int64(len(log)) {
			return true
		}
	}
	return false
}

// read takes records from where the journal stands.
func (in *simInputs) read(w *simWorker) {
	s := in.s
	next := map[int]int64{}
	for {
		s.block(time.Time{}, func() bool { return in.unread(next) || w.phases.draining() })
		if w.phases.draining() {
			return
		}
		if len(next) == 0 {
			err := s.call(w.phases.accept, "Positions", false, func() error {
				ps, err := s.j.Positions(w.phases.accept)
				for _, p := range ps {
					next[p.Partition] = p.Next
				}
				return err
			})
			if err != nil {
				clear(next)
				w.sleep(time.Second)
			}
			continue
		}
		for part, log := range in.log {
			from := next[part]
			if from >= int64(len(log)) {
				continue
			}
			to := min(int64(len(log)), from+1+int64(s.rng.IntN(4)))
			if in.ingest(w, part, from, to) != nil {
				clear(next) // nobody knows: the journal does
				w.sleep(200 * time.Millisecond)
				break
			}
			next[part] = to
		}
	}
}

func (in *simInputs) ingest(w *simWorker, part int, from, to int64) error {
	s := in.s
	batch := journal.Batch{Topic: simTopicName, Partition: part, From: from, Next: to}
	records := in.log[part][from:to]
	for i, r := range records {
		if r.deselect {
			batch.Deselected = append(batch.Deselected, r.shop)
			continue
		}
		e := r.event()
		e.Offset = from + int64(i)
		batch.Events = append(batch.Events, e)
	}
	return s.call(w.phases.accept, "Ingest", true, func() error {
		s.model.spoil = s.faults.on && s.rng.IntN(15) == 0
		got, err := s.j.Ingest(w.phases.accept, batch)
		s.model.spoil = false
		s.note("Ingest of partition %d, %d to %d: %+v, %v", part, from, to, got, err)
		if err != nil {
			return err
		}
		for _, r := range records {
			if _, known := in.taken[r.id]; !known && !r.deselect {
				in.total++
				in.taken[r.id], in.arrival[r.id] = r, in.total
			}
		}
		return nil
	})
}

// event makes what the consumer makes of a record.
func (r simRecord) event() journal.Event {
	domain, typ := keyset.DomainAddress, schemas.TypeProviderSelected
	if r.kind == journal.Activate {
		domain, typ = keyset.DomainCode, schemas.TypeCodeEntered
	}
	mac := func(parts ...string) []byte {
		sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
		return append([]byte{0, 0, 0, 9}, sum[:16]...)
	}
	macs, _ := simKeys{}.MACs(domain, keyset.SubjectText(r.shop.Account, r.value))
	sealed, _ := simKeys{}.Seal([]byte(r.value), keyset.SubjectAAD(r.kind.String(), r.shop.Account, r.shop.Shop, macs[0]))
	e := journal.Event{
		Identity: schemas.Identity(simTopicName, "/platform", r.id), Digests: [][]byte{mac("content", r.shop.Shop, r.value)},
		Type: typ, Source: "/platform", ID: r.id, Time: r.at, Shop: r.shop, Kind: r.kind,
		SubjectMACs: macs, Sealed: sealed,
	}
	e.ReusedLetter = func() (journal.DeadLetter, error) {
		id := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s %s", r.id, r.value))
		return journal.DeadLetter{EventID: r.id, Reason: "id_reused", Time: r.at, Digest: mac("letter", r.value), Announce: journal.Draft{
			ID: id, Type: schemas.TypeDeadLetter, Freeze: func(int64) (schemas.Message, error) {
				return schemas.Message{Key: []byte("letter"), Value: []byte(r.id)}, nil
			},
		}}, nil
	}
	return e
}

// simTopic is the relay, and what came out.
type simTopic struct {
	s         *sim
	wait      bool
	bytes     map[uuid.UUID]string
	sequences map[string]int64
	events    []schemas.Event // each once, in order
}

func newSimTopic(s *sim) *simTopic {
	return &simTopic{s: s, bytes: map[uuid.UUID]string{}, sequences: map[string]int64{}}
}

func (x *simTopic) start(w *simWorker) {
	x.wait = false
	x.s.spawn(w, fmt.Sprintf("relay%d", w.generation), func() { x.relay(w) })
}

func (x *simTopic) relay(w *simWorker) {
	s := x.s
	for {
		s.block(time.Time{}, func() bool { return !x.wait || w.phases.draining() })
		if w.phases.draining() {
			return
		}
		x.wait = true
		var rows []journal.OutboxRow
		err := s.call(w.phases.accept, "Pending", false, func() (err error) {
			rows, err = s.j.Pending(context.Background(), 0, 1+s.rng.IntN(4), 1<<20)
			return err
		})
		var done []journal.Published
		for _, row := range rows {
			s.pause()
			x.publish(row)
			done = append(done, journal.Published{Row: row.Row, Offset: -1})
		}
		if err == nil && len(done) > 0 {
			err = s.call(w.phases.accept, "MarkPublished", true, func() error { return s.j.MarkPublished(context.Background(), done) })
		}
		x.wait = x.wait && err == nil && len(rows) == 0
		if err != nil {
			w.sleep(time.Second)
		}
	}
}

// publish puts a row on the topic, and looks at it as a subscriber would.
func (x *simTopic) publish(row journal.OutboxRow) {
	s := x.s
	if row.Type == schemas.TypeDeadLetter {
		return
	}
	bytes := fmt.Sprintf("%q %q %q", row.Message.Key, row.Message.Value, row.Message.Headers)
	known, repeated := x.bytes[row.Event]
	if repeated && known != bytes {
		s.wrong("event %v has other bytes than before", row.Event)
	}
	x.bytes[row.Event] = bytes
	e, err := schemas.DecodeOutput(row.Message, schemas.Strict)
	if err != nil {
		s.wrong("a published %s breaks the contract: %v", row.Type, err)
		return
	}
	s.note("published %s of %s, sequence %d, repeated %v", e.Type, e.Subject, e.Sequence, repeated)
	if repeated {
		return
	}
	account := accountOf(e.Data)
	if last := x.sequences[account+" "+e.Subject]; e.Sequence <= last {
		s.wrong("shop %s: sequence %d after %d", e.Subject, e.Sequence, last)
	}
	x.sequences[account+" "+e.Subject] = e.Sequence
	x.events = append(x.events, e)
	for token := range s.box.tokens {
		if strings.Contains(bytes, token) {
			s.wrong("an event holds a token")
		}
	}
	if strings.Contains(bytes, "-code") || strings.Contains(bytes, "@") {
		s.wrong("an event holds a code or an address")
	}
	if a, ok := e.Data.(schemas.Activated); ok && s.destroyed[a.Credentials.Ref] == "" && !s.resolves(a) {
		s.wrong("a published reference of shop %s does not resolve", e.Subject)
	}
}

func accountOf(data any) string {
	switch d := data.(type) {
	case schemas.Invited:
		return d.PartnerAccount
	case schemas.InvitationFailed:
		return d.PartnerAccount
	case schemas.Activated:
		return d.PartnerAccount
	case schemas.ActivationFailed:
		return d.PartnerAccount
	case schemas.CredentialsVerified:
		return d.PartnerAccount
	case schemas.CredentialsInvalid:
		return d.PartnerAccount
	case schemas.Disconnected:
		return d.PartnerAccount
	case schemas.Unanswered:
		return d.PartnerAccount
	}
	return ""
}
