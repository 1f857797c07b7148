package sandbox

import (
	"net/http"

	"github.com/go-json-experiment/json/jsontext"
)

// Codes of error documents. Those that the documentation of Invoicebox does not
// name are ours.
const (
	codeUnauthorized = "unauthorized"
	codeForbidden    = "forbidden"
	codeValidation   = "validation"
	codeWrongValue   = "wrong_value"
	codeRequired     = "required"
	codeTooLong      = "too_long"
	codeLimited      = "too_many_requests"
	codeInternal     = "internal_error"
	codeDown         = "service_unavailable"
	codeTimeout      = "request_timeout"
	codeRejected     = "activation_code_not_found"
	codeExpired      = "activation_code_expired"
	codeUsed         = "activation_code_used"
	codeActive       = "merchant_already_active"
	codeRegistered   = "already_registered"
	codeFull         = "sandbox_full"

	codeNoRoute    = "not_found_http_exception"
	codeNoMethod   = "method_not_allowed_http_exception"
	codeNoType     = "unsupported_media_type_http_exception"
	codeNoAccept   = "not_acceptable_http_exception"
	codeBadRequest = "bad_request_http_exception"
	codeTooLarge   = "request_entity_too_large_http_exception"
)

const jsonType = "application/json; charset=utf-8"

// A field is an entry of error.fields.
type field struct{ name, code, message string }

// A response is what goes back: all but the way in which it may go wrong.
type answer struct {
	status      int
	contentType string
	headers     []header
	body        []byte
	delay, drip durationNS
	cut         Abort
	reset       bool
	effect      bool
	fault       string // why it differs from the ordinary answer, or ""
}

type header struct{ name, value string }

// refusal builds a response with an error document of the documented shape.
func refusal(status int, code, message string, flat bool, fields ...field) answer {
	return answer{status: status, contentType: jsonType, body: errorBody(code, message, flat, fields)}
}

// errorBody writes {"error":{…}}, or only its inside when flat. An empty code is
// left out, as are fields when there are none.
func errorBody(code, message string, flat bool, fields []field) []byte {
	b := make([]byte, 0, 128)
	if !flat {
		b = append(b, `{"error":`...)
	}
	b = append(b, `{"message":`...)
	b = quote(b, message)
	if code != "" {
		b = append(b, `,"code":`...)
		b = quote(b, code)
	}
	if len(fields) > 0 {
		b = append(b, `,"fields":[`...)
		for i, f := range fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"name":`...)
			b = quote(b, f.name)
			b = append(b, `,"code":`...)
			b = quote(b, f.code)
			b = append(b, `,"message":`...)
			b = quote(b, f.message)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	b = append(b, '}')
	if !flat {
		b = append(b, '}')
	}
	return b
}

// quote appends a JSON string; what is not UTF-8 becomes U+FFFD.
func quote(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}

func invitationBody(id []byte) []byte {
	b := make([]byte, 0, 64)
	b = append(b, `{"data":{`...)
	if len(id) > 0 {
		b = append(b, `"id":`...)
		b = append(b, id...)
	}
	return append(b, `}}`...)
}

func activationBody(merchantID, token string) []byte {
	b := make([]byte, 0, 96+len(token))
	b = append(b, `{"data":{"merchantId":`...)
	b = quote(b, merchantID)
	if token != "" {
		b = append(b, `,"token":`...)
		b = quote(b, token)
	}
	return append(b, `}}`...)
}

// userBody is the response of the token check; the empty user is null.
func userBody(user string) []byte {
	b := make([]byte, 0, 128)
	b = append(b, `{"data":{"userId":`...)
	if user == "" {
		b = append(b, `null`...)
	} else {
		b = quote(b, user)
	}
	return append(b, `,"profile":null,"accessToken":null},"extendedData":[]}`...)
}

// htmlBody is what a gateway says for itself.
func htmlBody(status int) []byte {
	title := http.StatusText(status)
	return []byte("<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title + "</h1></center>\r\n</body>\r\n</html>\r\n")
}

// corrupted breaks a JSON document without shortening it much.
func corrupted(body []byte) []byte {
	b := append([]byte(nil), body...)
	for i := range b {
		if b[i] == ':' {
			b[i] = ';'
			break
		}
	}
	return b
}

// oversized makes a document longer than any reader of ours accepts, with the
// padding in front of what matters.
func oversized(body []byte) []byte {
	const size = 96 << 10
	b := make([]byte, 0, size+len(body)+16)
	b = append(b, `{"metaData":"`...)
	for len(b) < size {
		b = append(b, 'x')
	}
	b = append(b, `",`...)
	if len(body) > 1 && body[0] == '{' {
		return append(b, body[1:]...)
	}
	return append(b, `"data":null}`...)
}

// withExtraFields adds members that nobody announced, around and inside the data.
func withExtraFields(body []byte) []byte {
	b := make([]byte, 0, len(body)+160)
	b = append(b, `{"metaData":{"took":3,"notes":["new",null]},"extendedData":[{"type":"notice"}],`...)
	const data = `{"data":{`
	if len(body) > len(data)+2 && string(body[:len(data)]) == data {
		b = append(b, `"data":{"createdAt":"2024-10-01T00:00:00+03:00","flags":{"a":[1,2.5e3]},`...)
		return append(b, body[len(data):]...)
	}
	if len(body) > 2 && body[0] == '{' {
		return append(b, body[1:]...)
	}
	return append(b, `"data":null}`...)
}
