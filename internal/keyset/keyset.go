package keyset

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// MACSize is the length of a digest in bytes: a key id and 128 bits.
const MACSize = 4 + 16

// The errors of a keyset. Callers use errors.Is.
var (
	// ErrOpen: the text was not sealed with a key of this set, or not for this row.
	ErrOpen = errors.New("keyset: cannot open: sealed with another keyset, for another row, or damaged")
	// ErrNoKey: this set does not have the key that the value names. It is an ErrOpen.
	ErrNoKey = fmt.Errorf("%w: the keyset does not have its key", ErrOpen)
)

// A KeyID is the id of a key in its keyset.
type KeyID uint32

// A Set seals, opens and digests. It is safe for concurrent use, also of
// [Set.Replace].
type Set struct {
	keys    *atomic.Pointer[keys] // shared with the result of Bind
	journal string                // see Bind
}

// keys are the two keysets of a file.
type keys struct {
	sealing, lookup *keyset.Handle
	aead            tink.AEAD
	prfs            *prf.Set
	order           []uint32 // look-up keys, the primary first
}

// New creates a set with one new key in each keyset.
func New() (*Set, error) {
	sealing, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("keyset: make the sealing key: %w", err)
	}
	lookup, err := keyset.NewHandle(prf.HMACSHA256PRFKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("keyset: make the look-up key: %w", err)
	}
	return assemble(sealing, lookup)
}

func assemble(sealing, lookup *keyset.Handle) (*Set, error) {
	a, err := aead.New(sealing)
	if err != nil {
		return nil, fmt.Errorf("keyset: sealing: %w", err)
	}
	p, err := prf.NewPRFSet(lookup)
	if err != nil {
		return nil, fmt.Errorf("keyset: look-up: %w", err)
	}
	order := []uint32{p.PrimaryID}
	for id := range p.PRFs {
		if id != p.PrimaryID {
			order = append(order, id)
		}
	}
	slices.Sort(order[1:])
	s := &Set{keys: new(atomic.Pointer[keys])}
	s.keys.Store(&keys{sealing: sealing, lookup: lookup, aead: a, prfs: p, order: order})
	return s, nil
}

// Replace gives the set the keys of another one, and also the sets that Bind returned.
// Work that has begun may still seal with the earlier keys.
func (s *Set) Replace(other *Set) { s.keys.Store(other.keys.Load()) }

// Bind returns the set for the rows of one journal: its seals and row MACs name
// the journal too, so that a value of another journal is refused. The digests of
// [Set.MACs] do not change.
func (s *Set) Bind(journal string) *Set {
	bound := *s
	bound.journal = journal
	return &bound
}

// associated is the associated data of a row.
func (s *Set) associated(row string) []byte {
	if s.journal == "" {
		return []byte(row)
	}
	return appendAssociatedData(make([]byte, 0, 64+2*len(row)), "journal", s.journal, row)
}

// Seal encrypts text for a row. Open needs the same row. The result names its key: see
// [SealingKey].
func (s *Set) Seal(text []byte, row string) ([]byte, error) {
	sealed, err := s.keys.Load().aead.Encrypt(text, s.associated(row))
	if err != nil {
		return nil, fmt.Errorf("keyset: seal: %w", err)
	}
	return sealed, nil
}

// Open decrypts the result of Seal for the same row. The error is ErrOpen or ErrNoKey.
func (s *Set) Open(sealed []byte, row string) ([]byte, error) {
	text, err := s.keys.Load().aead.Decrypt(sealed, s.associated(row))
	if err == nil {
		return text, nil
	}
	if key, err := SealingKey(sealed); err == nil && !s.hasSealing(key) {
		return nil, ErrNoKey
	}
	return nil, ErrOpen
}

func (s *Set) hasSealing(id KeyID) bool {
	sealing, _ := s.Keys()
	return slices.Contains(sealing, id)
}

// SealingKey returns the id of the key that sealed a text.
func SealingKey(sealed []byte) (KeyID, error) {
	// Tink's prefix: a 1, then the key's id.
	if len(sealed) < 5 || sealed[0] != 1 {
		return 0, ErrOpen
	}
	return KeyID(binary.BigEndian.Uint32(sealed[1:5])), nil
}

// MACs returns the digests of text under every look-up key, the primary key's first. Equal
// texts of two domains have unrelated digests.
func (s *Set) MACs(domain string, text []byte) ([][]byte, error) {
	input, k := append(beginDigest(domain, len(text)), text...), s.keys.Load()
	macs := make([][]byte, len(k.order))
	for i, id := range k.order {
		var err error
		if macs[i], err = k.digest(id, input); err != nil {
			return nil, err
		}
	}
	return macs, nil
}

// beginDigest returns the beginning of the digested bytes of a domain, with room for n
// more.
func beginDigest(domain string, n int) []byte {
	input := make([]byte, 0, 4+len(domain)+n)
	input = binary.BigEndian.AppendUint32(input, uint32(len(domain))) // #nosec G115 -- domains are short constants
	return append(input, domain...)
}

// digest returns the digest under one look-up key, after the key's id.
func (k *keys) digest(id uint32, input []byte) ([]byte, error) {
	sum, err := k.prfs.PRFs[id].ComputePRF(input, MACSize-4)
	if err != nil {
		return nil, fmt.Errorf("keyset: digest: %w", err)
	}
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, MACSize), id), sum...), nil
}

// MAC returns the digest under the primary look-up key.
func (s *Set) MAC(domain string, text []byte) ([]byte, error) {
	k := s.keys.Load()
	return k.digest(k.prfs.PrimaryID, append(beginDigest(domain, len(text)), text...))
}

// Authenticate returns a MAC over a row: domain is the kind of the row, and the parts are
// its columns. It is made with the primary look-up key and names the journal that the set
// is bound to.
func (s *Set) Authenticate(domain string, parts ...[]byte) ([]byte, error) {
	k := s.keys.Load()
	return k.digest(k.prfs.PrimaryID, s.rowText(domain, parts))
}

// Verify compares the MAC of a row with that of [Set.Authenticate]. The error is ErrOpen
// or ErrNoKey.
func (s *Set) Verify(mac []byte, domain string, parts ...[]byte) error {
	if len(mac) != MACSize {
		return ErrOpen
	}
	id, k := binary.BigEndian.Uint32(mac), s.keys.Load()
	if !slices.Contains(k.order, id) {
		return ErrNoKey
	}
	right, err := k.digest(id, s.rowText(domain, parts))
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(right, mac) != 1 {
		return ErrOpen
	}
	return nil
}

// rowText returns the digested bytes of a row. Two different lists of parts never have the
// same bytes.
func (s *Set) rowText(domain string, parts [][]byte) []byte {
	size := 4 + len(s.journal)
	for _, p := range parts {
		size += 8 + len(p)
	}
	text := beginDigest(domain, size)
	text = binary.BigEndian.AppendUint32(text, uint32(len(s.journal))) // #nosec G115 -- a UUID
	text = append(text, s.journal...)
	for _, p := range parts {
		text = append(binary.BigEndian.AppendUint64(text, uint64(len(p))), p...)
	}
	return text
}

// SameMAC reports, in constant time, whether one of the digests is mac.
func SameMAC(macs [][]byte, mac []byte) bool {
	same := 0
	for _, m := range macs {
		same |= subtle.ConstantTimeCompare(m, mac)
	}
	return same == 1
}

// Keys returns all keys, the primary ones first.
func (s *Set) Keys() (sealing, lookup []KeyID) {
	k := s.keys.Load()
	info := k.sealing.KeysetInfo()
	sealing = append(sealing, KeyID(info.GetPrimaryKeyId()))
	for _, key := range info.GetKeyInfo() {
		if id := KeyID(key.GetKeyId()); id != sealing[0] {
			sealing = append(sealing, id)
		}
	}
	for _, id := range k.order {
		lookup = append(lookup, KeyID(id))
	}
	return sealing, lookup
}

// PrimaryKeys returns the keys that serve new rows.
func (s *Set) PrimaryKeys() (sealing, lookup KeyID) {
	k := s.keys.Load()
	return KeyID(k.sealing.KeysetInfo().GetPrimaryKeyId()), KeyID(k.prfs.PrimaryID)
}
