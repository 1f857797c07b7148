package keyset

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/tink"

	"invoicebox-worker/internal/secretfile"
)

// MACSize is the length of a digest in bytes: a key id and 128 bits.
const MACSize = 4 + 16

// maxFile bounds a keyset file: hundreds of keys fit.
const maxFile = 1 << 20

// What can be wrong with a keyset. Callers use errors.Is.
var (
	// ErrOpen: the text was not sealed with a key of this set, or not for this row.
	ErrOpen = errors.New("keyset: cannot open: sealed with another keyset, for another row, or damaged")
	// ErrNoKey: this set does not have the key that the value names. It is an ErrOpen.
	ErrNoKey = fmt.Errorf("%w: the keyset does not have its key", ErrOpen)
	// ErrPermissions: group or world can read the file.
	ErrPermissions = errors.New("keyset: the file can be read by group or world; chmod 600 it")
)

// A KeyID names a key inside its keyset.
type KeyID uint32

// A Set seals, opens and digests. It is safe for concurrent use.
type Set struct {
	sealing, lookup *keyset.Handle
	aead            tink.AEAD
	prfs            *prf.Set
	order           []uint32 // look-up keys, the primary first
	journal         string   // see Bind
}

// file is the document on disk. Tink's own JSON stands in the members.
type file struct {
	Sealing jsontext.Value `json:"sealing"`
	Lookup  jsontext.Value `json:"lookup"`
}

// New makes a set with one fresh key in each keyset.
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

// Create makes a new set and writes it to path, readable by its owner only. An
// existing file is never touched: the error is then fs.ErrExist.
func Create(path string) (_ *Set, err error) {
	s, err := New()
	if err != nil {
		return nil, err
	}
	doc, err := s.marshal()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the operator names the file
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	defer func() {
		if closeErr := f.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("keyset: %w", closeErr)
		}
		if err != nil {
			_ = os.Remove(path)
		}
	}()
	if _, err := f.Write(doc); err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	// Losing the file loses every secret: it has to be on the disk before
	// anything is sealed with it.
	if err := f.Sync(); err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	return s, nil
}

// Load reads the set in path. The errors wrap fs.ErrNotExist, ErrPermissions,
// or say that the file is no keyset.
func Load(path string) (*Set, error) {
	// Looked at before it is opened: opening a pipe waits for a writer.
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("keyset: %s is not a regular file: %w", path, fs.ErrInvalid)
	}
	f, err := os.Open(path) // #nosec G304 -- the operator names the file
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("keyset: %s is not a regular file: %w", path, fs.ErrInvalid)
	}
	if !secretfile.Private(info) {
		return nil, fmt.Errorf("%w (%s)", ErrPermissions, path)
	}
	doc, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	if len(doc) > maxFile {
		return nil, fmt.Errorf("keyset: %s is no keyset: larger than %d bytes", path, maxFile)
	}
	s, err := parse(doc)
	if err != nil {
		// The parsers' own words may quote the file, which is all secret.
		return nil, fmt.Errorf("keyset: %s is no keyset made by `keys create`", path)
	}
	return s, nil
}

// Holds tells whether the set has every key of the other one.
func (s *Set) Holds(other *Set) bool {
	for _, part := range [][2]*keyset.Handle{{s.sealing, other.sealing}, {s.lookup, other.lookup}} {
		there := map[uint32]bool{}
		for _, k := range part[0].KeysetInfo().GetKeyInfo() {
			there[k.GetKeyId()] = true
		}
		for _, k := range part[1].KeysetInfo().GetKeyInfo() {
			if !there[k.GetKeyId()] {
				return false
			}
		}
	}
	return true
}

func parse(doc []byte) (*Set, error) {
	var f file
	if err := json.Unmarshal(doc, &f, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	sealing, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(f.Sealing)))
	if err != nil {
		return nil, err
	}
	lookup, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(f.Lookup)))
	if err != nil {
		return nil, err
	}
	return assemble(sealing, lookup)
}

func (s *Set) marshal() ([]byte, error) {
	var f file
	for _, part := range []struct {
		to   *jsontext.Value
		from *keyset.Handle
	}{{&f.Sealing, s.sealing}, {&f.Lookup, s.lookup}} {
		var b bytes.Buffer
		if err := insecurecleartextkeyset.Write(part.from, keyset.NewJSONWriter(&b)); err != nil {
			return nil, fmt.Errorf("keyset: %w", err)
		}
		*part.to = b.Bytes()
	}
	doc, err := json.Marshal(f, jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	return append(doc, '\n'), nil
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
	return &Set{sealing: sealing, lookup: lookup, aead: a, prfs: p, order: order}, nil
}

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

// Seal encrypts text for the row that row names. The same row must be given to
// Open. The result names its key: see [SealingKey].
func (s *Set) Seal(text []byte, row string) ([]byte, error) {
	sealed, err := s.aead.Encrypt(text, s.associated(row))
	if err != nil {
		return nil, fmt.Errorf("keyset: seal: %w", err)
	}
	return sealed, nil
}

// Open decrypts what Seal made for the same row; the error is ErrOpen, or
// ErrNoKey.
func (s *Set) Open(sealed []byte, row string) ([]byte, error) {
	text, err := s.aead.Decrypt(sealed, s.associated(row))
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

// SealingKey tells which key sealed a text.
func SealingKey(sealed []byte) (KeyID, error) {
	// Tink's prefix: a 1, then the key's id.
	if len(sealed) < 5 || sealed[0] != 1 {
		return 0, ErrOpen
	}
	return KeyID(binary.BigEndian.Uint32(sealed[1:5])), nil
}

// MACs returns the digests of text under every look-up key, the primary's
// first. Domain keeps uses apart: equal texts of two domains have unrelated
// digests.
func (s *Set) MACs(domain string, text []byte) ([][]byte, error) {
	input := append(beginDigest(domain, len(text)), text...)
	macs := make([][]byte, len(s.order))
	for i, id := range s.order {
		var err error
		if macs[i], err = s.digest(id, input); err != nil {
			return nil, err
		}
	}
	return macs, nil
}

// beginDigest is the begin of what is digested in a domain, with room for n bytes
// more.
func beginDigest(domain string, n int) []byte {
	input := make([]byte, 0, 4+len(domain)+n)
	input = binary.BigEndian.AppendUint32(input, uint32(len(domain))) // #nosec G115 -- domains are short constants
	return append(input, domain...)
}

// digest returns the digest under one look-up key, behind the key's id.
func (s *Set) digest(id uint32, input []byte) ([]byte, error) {
	sum, err := s.prfs.PRFs[id].ComputePRF(input, MACSize-4)
	if err != nil {
		return nil, fmt.Errorf("keyset: digest: %w", err)
	}
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, MACSize), id), sum...), nil
}

// MAC returns the digest under the primary look-up key.
func (s *Set) MAC(domain string, text []byte) ([]byte, error) {
	return s.digest(s.prfs.PrimaryID, append(beginDigest(domain, len(text)), text...))
}

// Authenticate returns a MAC over a row: domain says what kind of row it is, and
// the parts are its columns. It is made with the primary look-up key and names
// the journal that the set is bound to.
func (s *Set) Authenticate(domain string, parts ...[]byte) ([]byte, error) {
	return s.digest(s.prfs.PrimaryID, s.rowText(domain, parts))
}

// Verify compares the MAC of a row with what [Set.Authenticate] makes of it. The
// error is ErrOpen, or ErrNoKey.
func (s *Set) Verify(mac []byte, domain string, parts ...[]byte) error {
	if len(mac) != MACSize {
		return ErrOpen
	}
	id := binary.BigEndian.Uint32(mac)
	if !slices.Contains(s.order, id) {
		return ErrNoKey
	}
	right, err := s.digest(id, s.rowText(domain, parts))
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(right, mac) != 1 {
		return ErrOpen
	}
	return nil
}

// rowText is what is digested of a row. It joins the parts so that no two lists of parts give the same text.
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

// SameMAC tells, in constant time, whether one of the digests is mac.
func SameMAC(macs [][]byte, mac []byte) bool {
	same := 0
	for _, m := range macs {
		same |= subtle.ConstantTimeCompare(m, mac)
	}
	return same == 1
}

// Keys returns all keys, the primary ones first.
func (s *Set) Keys() (sealing, lookup []KeyID) {
	info := s.sealing.KeysetInfo()
	sealing = append(sealing, KeyID(info.GetPrimaryKeyId()))
	for _, k := range info.GetKeyInfo() {
		if id := KeyID(k.GetKeyId()); id != sealing[0] {
			sealing = append(sealing, id)
		}
	}
	for _, id := range s.order {
		lookup = append(lookup, KeyID(id))
	}
	return sealing, lookup
}

// PrimaryKeys returns the keys that serve new rows.
func (s *Set) PrimaryKeys() (sealing, lookup KeyID) {
	return KeyID(s.sealing.KeysetInfo().GetPrimaryKeyId()), KeyID(s.prfs.PrimaryID)
}
