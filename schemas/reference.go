package schemas

import (
	"encoding/base32"
	"errors"
	"strconv"
	"strings"
)

// The stores that a reference can name.
const (
	StoreVault   = "vault"
	StoreOpenBao = "openbao"
	StoreSealed  = "sealed" // in the worker's own journal
)

// SealedMount is the only mount of the sealed store.
const SealedMount = "journal"

// The fields that a reference can point at.
const (
	FieldToken      = "token" // the shop's API token: a secret
	FieldMerchantID = "merchantId"
)

const (
	schemePrefix = "ref+"
	folder       = "invoicebox"
	escapePrefix = "b32-"
)

// ErrReference is what [ParseReference] and [Reference.Check] fail with. The
// text that was refused is not in it.
var ErrReference = errors.New("schemas: not a credentials reference")

// base32Lower is RFC 4648's base32 in lower case without padding.
var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// A Reference says where a shop's credentials are kept:
//
//	ref+<store>://<mount>/invoicebox/<account>/<shop>?version=3#/token
//
// Version and field are optional. There is exactly one spelling of each
// reference, and no shop or account can name a path outside its own.
type Reference struct {
	Store   string // StoreVault, StoreOpenBao or StoreSealed
	Mount   string // one or more segments of [A-Za-z0-9._-]+, joined by slashes
	Account string // as configured, not escaped
	Shop    string // the shop id, not escaped
	Version int64  // 0: not pinned
	Field   string // "", FieldToken or FieldMerchantID
}

// ParseReference reads a reference and refuses whatever [Reference.String]
// would not write: user info, ports, other parameters, percent escapes, empty
// or climbing segments, a segment escaped without need or needed and not
// escaped, and anything above [MaxReferenceBytes].
func ParseReference(text string) (Reference, error) {
	r, ok := splitReference(text)
	// Writing it again proves that this was the one spelling.
	if !ok || r.String() != text {
		return Reference{}, ErrReference
	}
	return r, nil
}

func splitReference(text string) (r Reference, ok bool) {
	if len(text) > MaxReferenceBytes {
		return r, false
	}
	rest, ok := strings.CutPrefix(text, schemePrefix)
	if !ok {
		return r, false
	}
	if r.Store, rest, ok = strings.Cut(rest, "://"); !ok {
		return r, false
	}
	rest, fragment, _ := strings.Cut(rest, "#")
	r.Field = strings.TrimPrefix(fragment, "/")
	path, query, _ := strings.Cut(rest, "?")
	if digits, found := strings.CutPrefix(query, "version="); found {
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return r, false
		}
		r.Version = n
	}
	segments := strings.Split(path, "/")
	n := len(segments)
	if n < 4 || segments[n-3] != folder {
		return r, false
	}
	r.Mount = strings.Join(segments[:n-3], "/")
	if r.Account, ok = unescapeSegment(segments[n-2]); !ok {
		return r, false
	}
	r.Shop, ok = unescapeSegment(segments[n-1])
	return r, ok
}

// Check tells whether the reference is one that can be written.
func (r Reference) Check() error {
	switch r.Store {
	case StoreVault, StoreOpenBao:
		if !validMount(r.Mount) {
			return ErrReference
		}
	case StoreSealed:
		if r.Mount != SealedMount {
			return ErrReference
		}
	default:
		return ErrReference
	}
	switch r.Field {
	case "", FieldToken, FieldMerchantID:
	default:
		return ErrReference
	}
	if checkText(r.Account, MaxAccountBytes) != "" || checkText(r.Shop, MaxShopBytes) != "" || r.Version < 0 {
		return ErrReference
	}
	return nil
}

// External tells whether the credentials are outside of the worker's journal. Those of
// the zero Reference are not.
func (r Reference) External() bool { return r.Store == StoreVault || r.Store == StoreOpenBao }

// String writes the reference; empty when [Reference.Check] fails.
func (r Reference) String() string {
	key := r.Key()
	if key == "" {
		return ""
	}
	text := schemePrefix + r.Store + "://" + key
	if r.Version > 0 {
		text += "?version=" + strconv.FormatInt(r.Version, 10)
	}
	if r.Field != "" {
		text += "#/" + r.Field
	}
	return text
}

// Key is the path in the store: mount, "invoicebox", account and shop, the
// last two escaped. Empty when [Reference.Check] fails, so that nothing is
// ever looked up under a path that climbs.
func (r Reference) Key() string {
	if r.Check() != nil {
		return ""
	}
	return r.Mount + "/" + folder + "/" + escapeSegment(r.Account) + "/" + escapeSegment(r.Shop)
}

// Pinned returns the reference at a version and without a field, as events
// carry it.
func (r Reference) Pinned(version int64) Reference {
	r.Version, r.Field = version, ""
	return r
}

func validMount(mount string) bool {
	if len(mount) > MaxMountBytes {
		return false
	}
	for segment := range strings.SplitSeq(mount, "/") {
		if !plainSegment(segment) {
			return false
		}
	}
	return true
}

// plainSegment tells whether a path segment stands as it is.
func plainSegment(s string) bool {
	if s == "" || s == "." || s == ".." || strings.HasPrefix(s, escapePrefix) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

func escapeSegment(s string) string {
	if plainSegment(s) {
		return s
	}
	return escapePrefix + base32Lower.EncodeToString([]byte(s))
}

// unescapeSegment undoes escapeSegment. It may take more spellings than one;
// the caller compares with what escapeSegment makes of the result.
func unescapeSegment(s string) (string, bool) {
	digits, escaped := strings.CutPrefix(s, escapePrefix)
	if !escaped {
		return s, plainSegment(s)
	}
	b, err := base32Lower.DecodeString(digits)
	return string(b), err == nil
}
