package keyset

import "strings"

// The rows and domains that the worker seals and digests for. They are part of
// what lies on disk: changing one makes old rows unreadable.
const (
	// DomainAddress digests normalised e-mail addresses.
	DomainAddress = "address"
	// DomainCode digests activation codes.
	DomainCode = "code"
	// DomainContent digests the content of events.
	DomainContent = "content"
	// DomainLetter digests the values of dead letters.
	DomainLetter = "letter"
)

// escaper keeps the separator out of the parts; it is safe for concurrent use.
var escaper = strings.NewReplacer("%", "%25", "/", "%2F")

// Row names a row for sealing: what it is and where it belongs. Parts are
// joined so that no two lists of parts give the same name.
func Row(what string, parts ...string) string {
	var b strings.Builder
	b.WriteString(what)
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(escaper.Replace(p))
	}
	return b.String()
}
