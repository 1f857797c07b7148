package journaltest

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

var reseals = []part{
	// Every sealed value is sealed again in steps, and opens as before.
	{"EveryValue", func(f *fixture) {
		next, key := f.fillSealed()
		seals := 0
		for _, c := range journal.SealedColumns() {
			rows := 0
			for after, steps := (journal.SealedID{}), 0; ; steps++ {
				got, err := f.j.Reseal(f.ctx, journal.Reseal{Column: c, Key: key, After: after, Limit: 2}, func(row string, sealed []byte) ([]byte, error) {
					seals++
					text, err := next.Open(sealed, row)
					if err != nil {
						f.Errorf("%s: %q does not open: %v", c.Name(), row, err)
						return nil, err
					}
					return next.Seal(text, row)
				})
				f.ok(err)
				rows += got.Rows
				if got.Unreadable != 0 || steps > 10 {
					f.Fatalf("%+v after %d steps", got, steps)
				}
				f.crash() // and goes on where it was
				f.clock.advance(time.Minute)
				leaseOf(f)
				if after = got.Next; after == (journal.SealedID{}) {
					break
				}
			}
			want := map[journal.SealedColumn]int{journal.SealedCheck: 1}[c]
			if want == 0 {
				want = 3
			}
			if rows != want {
				f.Errorf("%s: %d values were sealed, want %d", c.Name(), rows, want)
			}
			got, err := f.j.Reseal(f.ctx, journal.Reseal{Column: c, Key: key, Limit: 10}, func(string, []byte) ([]byte, error) {
				f.Errorf("%s: a value is sealed twice", c.Name())
				return nil, keyset.ErrOpen
			})
			f.ok(err)
			diff(f.T, journal.Resealed{}, got)
		}
		if seals != 13 {
			f.Errorf("%d values were sealed", seals)
		}
		sealing, lookup := f.keys.PrimaryKeys()
		rows, err := f.j.KeyRows(f.ctx, []journal.Key{{Purpose: journal.KeySealing, ID: uint32(sealing)}, {Purpose: journal.KeySealing, ID: key}, {Purpose: journal.KeyLookup, ID: uint32(lookup)}})
		f.ok(err)
		if rows[0].Rows != 0 || rows[1].Rows != 13 || len(rows[1].Columns) != 5 || rows[2].Rows == 0 {
			f.Errorf("%+v", rows)
		}
		// Values that are sealed with the new key work as before.
		list, err := f.j.Claim(f.ctx, journal.ClaimRequest{Account: account, Kind: journal.Activate, Stage: journal.Settle, Limit: 3, Lease: time.Minute})
		if err != nil || len(list) != 3 {
			f.Fatal(len(list), err)
		}
		o := list[0]
		text, err := next.Open(o.Sealed, keyset.SubjectAAD(o.Kind.String(), o.Shop.Account, o.Shop.Shop, o.SubjectMAC))
		if err != nil || o.Receipt == nil {
			f.Fatalf("%q, %v, %+v", text, err, o.Receipt)
		}
		if _, err := next.Open(o.Receipt.Sealed, keyset.ResponseAAD(o.Shop.Account, o.Shop.Shop, o.UUID.String(), o.Receipt.SealedFor)); err != nil {
			f.Error(err)
		}
	}},
	// A value that changed meanwhile is not replaced.
	{"ChangedMeanwhile", func(f *fixture) {
		next, key := f.fillSealed()
		for _, c := range journal.SealedColumns() {
			inner := false
			got, err := f.j.Reseal(f.ctx, journal.Reseal{Column: c, Key: key, Limit: 100}, func(row string, sealed []byte) ([]byte, error) {
				again := func(row string, sealed []byte) ([]byte, error) {
					text, err := next.Open(sealed, row)
					if err != nil {
						return nil, err
					}
					return next.Seal(text, row)
				}
				if !inner {
					inner = true
					first, err := f.j.Reseal(f.ctx, journal.Reseal{Column: c, Key: key, Limit: 1}, again)
					f.ok(err)
					if first.Rows != 1 {
						f.Errorf("%s: %+v", c.Name(), first)
					}
				}
				return again(row, sealed)
			})
			f.ok(err)
			want := 2 // of three, one was replaced by the inner call
			if c == journal.SealedCheck {
				want = 0
			}
			if got.Rows != want {
				f.Errorf("%s: %+v", c.Name(), got)
			}
		}
	}},
	// A value that does not open stays, and others are sealed.
	{"DamagedValueStays", func(f *fixture) {
		next, key := f.fillSealed()
		n := 0
		got, err := f.j.Reseal(f.ctx, journal.Reseal{Column: journal.SealedSubjects, Key: key, Limit: 100}, func(row string, sealed []byte) ([]byte, error) {
			if n++; n == 2 {
				return nil, keyset.ErrOpen
			}
			text, err := next.Open(sealed, row)
			if err != nil {
				return nil, err
			}
			return next.Seal(text, row)
		})
		f.ok(err)
		diff(f.T, journal.Resealed{Rows: 2, Unreadable: 1}, got)
	}},
	// A value that is sealed with another key than asked for is refused.
	{"OtherKey", func(f *fixture) {
		_, key := f.fillSealed()
		_, err := f.j.Reseal(f.ctx, journal.Reseal{Column: journal.SealedSubjects, Key: key, Limit: 100}, func(row string, sealed []byte) ([]byte, error) {
			return f.keys.Seal([]byte("text"), row)
		})
		if err == nil {
			f.Error("it was stored")
		}
		_, err = f.j.Reseal(f.ctx, journal.Reseal{Column: 99, Key: key}, nil)
		want(f.T, err, journal.ErrNotFound)
	}},
}

// fillSealed stores three values in every sealed column, and the check. It returns a
// keyset with one more key, the primary one, and its id.
func (f *fixture) fillSealed() (next *keyset.Set, key uint32) {
	f.Helper()
	check, err := f.keys.Seal([]byte("check"), keyset.CheckAAD(f.j.Identity().String()))
	f.ok(err)
	f.ok(f.j.SetKeysetCheck(f.ctx, check))
	leaseOf(f)
	for i := range 3 {
		f.ingest(f.code(fmt.Sprint("s", i), fmt.Sprint("e", i), fmt.Sprint(i)))
		o := f.claimed(journal.Activate, journal.Call)
		id := f.send(o)
		_, mine, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
		if err != nil || !mine {
			f.Fatal(mine, err)
		}
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Stored, Attempt: id, Credential: f.credential(o, 1, fmt.Sprint("m", i))})
		letter := uuid.New()
		b := f.batch()
		sealed, err := f.keys.Seal([]byte("record"), keyset.DeadLetterAAD(topic, 0, b.Next, letter.String()))
		f.ok(err)
		b.DeadLetters = []journal.DeadLetter{{
			Offset: b.Next, Reason: "not_json", Size: 1, Digest: []byte("digest"), Sealed: sealed, Announce: MakeDraft(letter, schemas.TypeDeadLetter, journal.ShopKey{}),
		}}
		b.Next++
		f.next = b.Next
		if _, err := f.j.Ingest(f.ctx, b); err != nil {
			f.Fatal(err)
		}
	}
	next, id, err := f.keys.With(keyset.Sealing)
	f.ok(err)
	next, err = next.Promoted(keyset.Sealing, id)
	f.ok(err)
	return next, uint32(id)
}
