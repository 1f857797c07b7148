package config

import "time"

// SandboxPrefix begins the environment variables of invoicebox-sandbox.
const SandboxPrefix = "INVOICEBOX_SANDBOX_"

// Sandbox is the settings of the sandbox; see [Worker] for the tags.
type Sandbox struct {
	Config      string   `name:"config" type:"setting" help:"YAML file with settings." placeholder:"FILE"`
	Listen      string   `name:"listen" type:"setting" check:"listen" help:"Address of the API." default:"127.0.0.1:8080"`
	AdminListen string   `name:"admin-listen" type:"setting" check:"listen" help:"Address of the admin endpoints. They require no password." default:"127.0.0.1:8081"`
	AdminHost   []string `name:"admin-host" type:"setting" sep:"none" help:"A host name that admin requests may use, besides localhost and IP addresses (repeatable)." placeholder:"NAME"`
	TLSCertFile string   `name:"tls-cert-file" type:"setting" help:"PEM file with the certificate of the API. With it, the API uses HTTPS." placeholder:"FILE"`
	TLSKeyFile  string   `name:"tls-key-file" type:"setting" help:"PEM file with the key of the certificate." placeholder:"FILE"`

	Account          []string `name:"account" type:"setting" secret:"true" help:"A partner account (repeatable). By default there is one, with the public demo data of the documentation." placeholder:"PARTNER_ID:TOKEN" sep:"none"`
	SigningKey       []string `name:"signing-key" type:"setting" secret:"true" help:"Require X-Signature from an account (repeatable)." placeholder:"PARTNER_ID:KEY" sep:"none"`
	SigningAlgorithm string   `name:"signing-algorithm" type:"setting" oneof:"hmac-sha1,hmac-sha256,hmac-sha512" help:"Algorithm of X-Signature: hmac-sha1, hmac-sha256 or hmac-sha512." default:"hmac-sha1"`
	SigningEncoding  string   `name:"signing-encoding" type:"setting" oneof:"hex,base64" help:"Encoding of X-Signature: hex or base64." default:"hex"`

	Profile                 string        `name:"profile" type:"setting" oneof:"calm,realistic,hostile" help:"How many faults occur that no request asked for: calm, realistic or hostile." default:"realistic"`
	Seed                    *uint64       `name:"seed" type:"setting" help:"Seed of the random numbers. Without it, the program draws one and prints it." placeholder:"N"`
	Latency                 time.Duration `name:"latency" type:"setting" min:"0s" max:"1h" help:"Time from arrival to effect: exact with the profile calm, otherwise the median (0s: as the profile has it)." default:"0s"`
	RequestsPerWindow       int           `name:"requests-per-window" type:"setting" placeholder:"N" min:"-1000000" max:"1000000" help:"Requests of an account in a window; a negative number is no limit." default:"100"`
	EgressRequestsPerWindow int           `name:"egress-requests-per-window" type:"setting" placeholder:"N" min:"-1000000" max:"1000000" help:"Requests of an IP address in a window; a negative number is no limit." default:"500"`
	Window                  time.Duration `name:"window" type:"setting" min:"1ms" max:"24h" help:"Length of the sliding window of both limits." default:"30s"`

	BasePath         string `name:"base-path" type:"setting" help:"Path prefix of all routes of the API." placeholder:"/PATH"`
	StrictUserAgent  bool   `name:"strict-user-agent" type:"setting" help:"Require a User-Agent of the form name/version (details)."`
	InvitationIDs    string `name:"invitation-ids" type:"setting" oneof:"auto,uuid,int" help:"Form of invitation ids: auto, uuid or int (auto: uuid; with hostile, random)." default:"auto"`
	CodeReuse        string `name:"code-reuse" type:"setting" oneof:"auto,once,repeatable" help:"Second use of a code by the same partner: auto, once or repeatable (auto: once; with hostile, random)." default:"auto"`
	RefusalStatus    string `name:"refusal-status" type:"setting" oneof:"auto,400,403,404,409,422" help:"Status of a refused code: auto, 400, 403, 404, 409 or 422 (auto: 422; with hostile, random)." default:"auto"`
	RefusalCode      string `name:"refusal-code" type:"setting" help:"The error.code of all refused codes. By default, each reason has its own." placeholder:"CODE"`
	RefusalFields    bool   `name:"refusal-fields" type:"setting" help:"List a refused code in error.fields too (with hostile, random)."`
	FlatErrors       bool   `name:"flat-errors" type:"setting" help:"Errors have code and message at the top level (with hostile, random)."`
	EmptyTokenStatus int    `name:"empty-token-status" type:"setting" oneof:"401,403" help:"Status of a POST without a token: 401 or 403." default:"401"`
	WrongTokenStatus int    `name:"wrong-token-status" type:"setting" oneof:"401,403" help:"Status of a call with a wrong token: 401 or 403." default:"401"`
	OnlyPlantedCodes bool   `name:"only-planted-codes" type:"setting" help:"Refuse activation codes that were not added with POST /codes."`
	CountAt          string `name:"count-at" type:"setting" oneof:"auto,arrival,answer,between" help:"When a request counts towards the limits: auto, arrival, answer or between (auto: arrival; with hostile, between)." default:"auto"`
	CountRefused     bool   `name:"count-refused" type:"setting" help:"Requests answered with 429 count towards the limits too."`
	BareLimits       bool   `name:"bare-limits" type:"setting" help:"A 429 has no body and no Retry-After (with hostile, random)."`

	Keep      int    `name:"keep" type:"setting" placeholder:"N" min:"1" max:"100000000" help:"How many requests, codes and addresses are remembered." default:"1000000"`
	LogLevel  string `name:"log-level" type:"setting" oneof:"debug,info,warn,error" help:"Lowest level that is logged to stderr: debug, info, warn or error. The level debug logs every request." default:"info"`
	LogFormat string `name:"log-format" type:"setting" oneof:"text,json" help:"Format of the log: text or json." default:"text"`
}
