// Package envvar reads a program's settings from environment variables that
// carry the program's prefix, such as INVOICEBOX_WORKER_KAFKA_BROKERS.
//
// Bare names (WINDOW, LISTEN, CONCURRENCY) are never read: terminals and
// platforms set them for other purposes. Kubernetes injects variables named after
// a Service (INVOICEBOX_WORKER_PORT); they are recognised by their form and
// ignored.
package envvar

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Variables are the environment variables of one program.
type Variables struct {
	prefix string
	values map[string]string // with the prefix; an empty value counts as not set
}

// New takes the variables that begin with prefix from an environment in the
// form of os.Environ.
func New(prefix string, environ []string) Variables {
	v := Variables{prefix: prefix, values: map[string]string{}}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if _, repeated := v.values[name]; strings.HasPrefix(name, prefix) && value != "" && !repeated {
			v.values[name] = value
		}
	}
	return v
}

// Name is the variable of a setting.
func (v Variables) Name(setting string) string {
	return v.prefix + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

// Lookup returns the variable of a setting, where it has a value.
func (v Variables) Lookup(setting string) (string, bool) {
	value, ok := v.values[v.Name(setting)]
	return value, ok
}

// Near is a variable that belongs to no setting, with the setting that was
// probably meant, and its variable.
type Near struct{ Variable, Setting, Meant string }

// NearMisses lists variables that resemble the variable of one of the settings.
// Others with the prefix are not ours and are ignored.
func (v Variables) NearMisses(settings []string) []Near {
	known := map[string]string{}
	for _, s := range settings {
		known[v.Name(s)] = s
	}
	var found []Near
	for name := range v.values {
		if _, ok := known[name]; ok || IsServiceLink(name) {
			continue
		}
		if meant := nearest(name, slices.Sorted(maps.Keys(known)), len(v.prefix)); meant != "" {
			found = append(found, Near{Variable: name, Setting: known[meant], Meant: meant})
		}
	}
	slices.SortFunc(found, func(a, b Near) int { return strings.Compare(a.Variable, b.Variable) })
	return found
}

// nearest finds the known name with the fewest edits: at most two, and at most
// one for each four characters behind the prefix.
func nearest(name string, known []string, prefix int) string {
	best, meant := 3, ""
	for _, k := range known {
		if plain(k) == plain(name) {
			return k
		}
		a, b := strings.ToUpper(name[prefix:]), k[prefix:]
		if d := distance(a, b); d < best && d <= len(b)/4 {
			best, meant = d, k
		}
	}
	return meant
}

// plain is a name without what is easily typed in another way.
func plain(name string) string {
	return strings.ToUpper(strings.NewReplacer("_", "", "-", "", ".", "").Replace(name))
}

// distance is the number of single-byte edits between two names; two adjacent
// bytes that changed places count once.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(last[j]+1, row[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// serviceLink is what Kubernetes appends to the name of a Service
// (NAME_SERVICE_HOST, NAME_SERVICE_PORT, NAME_SERVICE_PORT_HTTP, NAME_PORT,
// NAME_PORT_9464_TCP_ADDR).
var serviceLink = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// IsServiceLink reports whether a variable has the form that Kubernetes gives to
// the address of a Service. No setting may have such a variable.
func IsServiceLink(variable string) bool { return serviceLink.MatchString(variable) }
