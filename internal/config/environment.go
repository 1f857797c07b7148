package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// variables are the environment variables of one program.
type variables struct {
	prefix string
	values map[string]string // with the prefix; an empty value counts as not set
}

// newVariables takes the variables that begin with prefix from an environment in the
// form of os.Environ.
func newVariables(prefix string, environ []string) variables {
	v := variables{prefix: prefix, values: map[string]string{}}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if _, repeated := v.values[name]; strings.HasPrefix(name, prefix) && value != "" && !repeated {
			v.values[name] = value
		}
	}
	return v
}

// name is the variable of a setting.
func (v variables) name(setting string) string {
	return v.prefix + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

// lookup returns the variable of a setting, where it has a value.
func (v variables) lookup(setting string) (string, bool) {
	value, ok := v.values[v.name(setting)]
	return value, ok
}

// A NearMiss is a variable that belongs to no setting, with the setting that was
// probably meant, and its variable.
type NearMiss struct{ Variable, Setting, Meant string }

// String is the warning about it.
func (n NearMiss) String() string {
	return fmt.Sprintf("the environment variable %s belongs to no setting and is ignored; did you mean %s?", n.Variable, n.Meant)
}

// nearMisses lists variables that resemble the variable of one of the settings.
// Others with the prefix are not ours and are ignored.
func (v variables) nearMisses(settings []string) []NearMiss {
	known := map[string]string{}
	for _, s := range settings {
		known[v.name(s)] = s
	}
	var found []NearMiss
	for name := range v.values {
		if _, ok := known[name]; ok || IsServiceLink(name) {
			continue
		}
		if meant := nearestVariable(name, slices.Sorted(maps.Keys(known)), len(v.prefix)); meant != "" {
			found = append(found, NearMiss{Variable: name, Setting: known[meant], Meant: meant})
		}
	}
	slices.SortFunc(found, func(a, b NearMiss) int { return strings.Compare(a.Variable, b.Variable) })
	return found
}

// nearestVariable finds the known name with the fewest edits: at most two, and at most
// one for each four characters behind the prefix.
func nearestVariable(name string, known []string, prefix int) string {
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
