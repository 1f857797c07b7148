package schemas

import "strings"

// The prefixes of attributes: of the Kafka binding, of HTTP, and of AMQP with
// both of its separators.
const (
	prefixHTTP     = "ce-"
	prefixAMQP     = "cloudevents:"
	prefixAMQPLine = "cloudevents_"

	contentTypeAlias = "contenttype" // Spring's contentType, and content_type
)

// headerName splits a header's name, in lower case, into the prefix of an
// attribute and the attribute's name, or gives the name alone where it is one
// that matters. An attribute that is not read has no name. It returns constants,
// since every header of every record comes through here.
func headerName(key string) (prefix, name string) {
	if len(key) < 2 || key[0]|0x20 != 'c' && key[0]|0x20 != 't' {
		return "", ""
	}
	switch {
	case key[1]|0x20 == 'e' && len(key) > 2 && key[0]|0x20 == 'c':
		switch key[2] {
		case '_':
			prefix = headerPrefix
		case '-':
			prefix = prefixHTTP
		}
	case len(key) > len(prefixAMQP) && strings.EqualFold(key[:len(prefixAMQP)], prefixAMQP):
		prefix = prefixAMQP
	case len(key) > len(prefixAMQP) && strings.EqualFold(key[:len(prefixAMQP)], prefixAMQPLine):
		prefix = prefixAMQPLine
	}
	name = knownName(key[len(prefix):])
	if name == "" && len(key) <= len(prefixAMQP+"specversion") {
		var buffer [len(prefixAMQP + "specversion")]byte
		lower := buffer[:0]
		for i := len(prefix); i < len(key); i++ {
			c := key[i]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			lower = append(lower, c)
		}
		name = knownName(string(lower))
	}
	switch name {
	case headerContentType, contentTypeAlias, headerTraceParent, headerTraceState:
	default:
		if prefix == "" {
			return "", "" // a header of that name is no attribute
		}
	}
	return prefix, name
}

// knownName gives the constant for a name in lower case, else nothing.
func knownName(lower string) string {
	switch lower {
	case "specversion":
		return "specversion"
	case "id":
		return "id"
	case "source":
		return "source"
	case "type":
		return "type"
	case "subject":
		return "subject"
	case "time":
		return "time"
	case headerTraceParent:
		return headerTraceParent
	case headerTraceState:
		return headerTraceState
	case headerContentType:
		return headerContentType
	case contentTypeAlias, "content_type":
		return contentTypeAlias
	}
	return ""
}
