package keyset

import (
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
)

// A Purpose is what a key is used for.
type Purpose uint8

// The purposes.
const (
	Sealing Purpose = 1
	Lookup  Purpose = 2
)

// A State is the state of a key. The file has the keys in the order in which they were
// added, so the primary key is between the old and the added ones.
type State string

// The states.
const (
	Added   State = "added"   // opens and finds values, and serves no new row yet
	Primary State = "primary" // it serves new rows
	Old     State = "old"     // was the primary key
)

// A Key is the public description of a key.
type Key struct {
	Purpose Purpose
	ID      KeyID
	State   State
}

// The errors of a change of a keyset.
var (
	ErrUnknownKey = errors.New("keyset: it has no such key")
	ErrPrimaryKey = errors.New("keyset: the key serves new rows")
)

// List lists all keys, the sealing ones first, each kind in the order in which they
// were added.
func (s *Set) List() (list []Key) {
	k := s.keys.Load()
	for _, part := range []struct {
		purpose Purpose
		handle  *keyset.Handle
	}{{Sealing, k.sealing}, {Lookup, k.lookup}} {
		info, state := part.handle.KeysetInfo(), Old
		for _, one := range info.GetKeyInfo() {
			if one.GetKeyId() == info.GetPrimaryKeyId() {
				list = append(list, Key{part.purpose, KeyID(one.GetKeyId()), Primary})
				state = Added
				continue
			}
			list = append(list, Key{part.purpose, KeyID(one.GetKeyId()), state})
		}
	}
	return list
}

// With returns a set with one more key. The key opens and finds values, and serves no new
// rows before it is promoted.
func (s *Set) With(p Purpose) (_ *Set, id KeyID, err error) {
	template := aead.AES256GCMKeyTemplate()
	if p == Lookup {
		template = prf.HMACSHA256PRFKeyTemplate()
	}
	next, err := s.change(p, func(m *keyset.Manager) error {
		added, err := m.Add(template)
		id = KeyID(added)
		return err
	})
	return next, id, err
}

// Promoted returns a set in which a key serves new rows. The error is ErrUnknownKey.
func (s *Set) Promoted(p Purpose, id KeyID) (*Set, error) {
	if s.state(p, id) == "" {
		return nil, ErrUnknownKey
	}
	return s.change(p, func(m *keyset.Manager) error { return m.SetPrimary(uint32(id)) })
}

// Without returns a set that lacks a key. The error is ErrUnknownKey or ErrPrimaryKey.
func (s *Set) Without(p Purpose, id KeyID) (*Set, error) {
	switch s.state(p, id) {
	case "":
		return nil, ErrUnknownKey
	case Primary:
		return nil, ErrPrimaryKey
	}
	return s.change(p, func(m *keyset.Manager) error { return m.Delete(uint32(id)) })
}

func (s *Set) state(p Purpose, id KeyID) State {
	for _, k := range s.List() {
		if k.Purpose == p && k.ID == id {
			return k.State
		}
	}
	return ""
}

// change returns a set with other keys for one purpose.
func (s *Set) change(p Purpose, f func(*keyset.Manager) error) (*Set, error) {
	k := s.keys.Load()
	handle := k.sealing
	if p == Lookup {
		handle = k.lookup
	}
	manager := keyset.NewManagerFromHandle(handle)
	if err := f(manager); err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	changed, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	sealing, lookup := changed, k.lookup
	if p == Lookup {
		sealing, lookup = k.sealing, changed
	}
	next, err := assemble(sealing, lookup)
	if err != nil {
		return nil, err
	}
	next.journal = s.journal
	return next, nil
}
