package keyset_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"invoicebox-worker/internal/keyset"
)

// places are rows of every sealed column: in each list a row differs from the
// first one in one part.
func places() []string {
	return []string{
		keyset.SubjectAAD("invite", "acc", "shop", []byte("mac")), keyset.SubjectAAD("activate", "acc", "shop", []byte("mac")),
		keyset.SubjectAAD("invite", "bcc", "shop", []byte("mac")), keyset.SubjectAAD("invite", "acc", "thop", []byte("mac")), keyset.SubjectAAD("invite", "acc", "shop", []byte("nac")),
		keyset.ResponseAAD("acc", "shop", "op", keyset.AttemptSource(1)), keyset.ResponseAAD("bcc", "shop", "op", keyset.AttemptSource(1)), keyset.ResponseAAD("acc", "thop", "op", keyset.AttemptSource(1)),
		keyset.ResponseAAD("acc", "shop", "oq", keyset.AttemptSource(1)), keyset.ResponseAAD("acc", "shop", "op", keyset.AttemptSource(2)), keyset.ResponseAAD("acc", "shop", "op", keyset.ActionSource("1")),
		keyset.EnteredTokenAAD("1", "enter", "op", "acc", "shop", "anna"), keyset.EnteredTokenAAD("2", "enter", "op", "acc", "shop", "anna"), keyset.EnteredTokenAAD("1", "close", "op", "acc", "shop", "anna"),
		keyset.EnteredTokenAAD("1", "enter", "oq", "acc", "shop", "anna"), keyset.EnteredTokenAAD("1", "enter", "op", "bcc", "shop", "anna"), keyset.EnteredTokenAAD("1", "enter", "op", "acc", "thop", "anna"),
		keyset.EnteredTokenAAD("1", "enter", "op", "acc", "shop", "berta"),
		keyset.CredentialAAD("acc", "shop", 1), keyset.CredentialAAD("bcc", "shop", 1), keyset.CredentialAAD("acc", "thop", 1), keyset.CredentialAAD("acc", "shop", 2),
		keyset.DeadLetterAAD("topic", 1, 2, "event"), keyset.DeadLetterAAD("other", 1, 2, "event"), keyset.DeadLetterAAD("topic", 2, 2, "event"), keyset.DeadLetterAAD("topic", 1, 3, "event"), keyset.DeadLetterAAD("topic", 1, 2, "other"),
		keyset.CheckAAD("identity"), keyset.CheckAAD("another"),
	}
}

func TestBind(t *testing.T) {
	keys := newSet(t)
	sets := map[string]*keyset.Set{"unbound": keys, "one": keys.Bind("one"), "two": keys.Bind("two")}
	t.Run("OpensInItsPlaceOnly", func(t *testing.T) {
		for from, sealer := range sets {
			for i, place := range places() {
				sealed, err := sealer.Seal([]byte("text"), place)
				if err != nil {
					t.Fatal(err)
				}
				for to, opener := range sets {
					for k, other := range places() {
						_, err := opener.Open(sealed, other)
						if mine := from == to && i == k; mine != (err == nil) || err != nil && (!errors.Is(err, keyset.ErrOpen) || errors.Is(err, keyset.ErrNoKey)) {
							t.Errorf("%s %q opens as %s %q: %v", from, place, to, other, err)
						}
					}
				}
			}
		}
	})
	t.Run("KeepsLookUpDigests", func(t *testing.T) {
		a, _ := keys.MAC(keyset.DomainCode, []byte("x"))
		b, _ := keys.Bind("one").MAC(keyset.DomainCode, []byte("x"))
		if !bytes.Equal(a, b) {
			t.Error("a digest changes with the journal")
		}
	})
	t.Run("NamesAMissingKey", func(t *testing.T) {
		sealed, _ := keys.Seal([]byte("text"), "row")
		mac, _ := keys.Authenticate(keyset.DomainOutbox, []byte("row"))
		other := newSet(t)
		if _, err := other.Open(sealed, "row"); !errors.Is(err, keyset.ErrNoKey) {
			t.Error(err)
		}
		if err := other.Verify(mac, keyset.DomainOutbox, []byte("row")); !errors.Is(err, keyset.ErrNoKey) {
			t.Error(err)
		}
	})
}

func TestAuthenticate(t *testing.T) {
	keys := newSet(t).Bind("one")
	row := [][]byte{[]byte("id"), []byte("key"), nil, []byte("value")}
	mac, err := keys.Authenticate(keyset.DomainOutbox, row...)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Verify(mac, keyset.DomainOutbox, row...); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"another domain":          keys.Verify(mac, keyset.DomainIntent, row...),
		"another journal":         keys.Bind("two").Verify(mac, keyset.DomainOutbox, row...),
		"parts that run together": keys.Verify(mac, keyset.DomainOutbox, []byte("idkey"), nil, nil, []byte("value")),
		"a part less":             keys.Verify(mac, keyset.DomainOutbox, row[:3]...),
		"a part more":             keys.Verify(mac, keyset.DomainOutbox, append(slices.Clone(row), nil)...),
		"no MAC":                  keys.Verify(nil, keyset.DomainOutbox, row...),
		"half a MAC":              keys.Verify(mac[:8], keyset.DomainOutbox, row...),
	} {
		if !errors.Is(err, keyset.ErrOpen) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range row {
		edited := slices.Clone(row)
		edited[i] = append(bytes.Clone(edited[i]), 'x')
		if err := keys.Verify(mac, keyset.DomainOutbox, edited...); !errors.Is(err, keyset.ErrOpen) {
			t.Errorf("part %d edited: %v", i, err)
		}
	}
}

// Every column that is said to be sealed has a function that names its row.
func TestColumns(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range keyset.Columns() {
		name := fmt.Sprint(c.Table, ".", c.Name)
		if seen[name] || c.Binds == "" || c.Refused == "" || c.MAC != (c.Name == "mac") {
			t.Errorf("%+v", c)
		}
		seen[name] = true
	}
}
