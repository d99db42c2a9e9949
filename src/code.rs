//! The one table of codes: number, Rust variant and text of everything that can be wrong.
//!
//! Rust, C and JavaScript show the same numbers. A number is never reused.

use core::ffi::CStr;
use core::fmt;

/// How much a [`Code`] matters. There will be no third kind: what is no error can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Breaks the contract: encoding refuses it.
    Error,
    /// A likely mistake: it is reported, and may be sent.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const fn c_str(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => c"",
    }
}

macro_rules! table {
    ($($number:literal $variant:ident $severity:ident $text:literal;)*) => {
        /// What is wrong. The number is stable and the same in every language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum Code {
            $(#[doc = $text] $variant = $number,)*
        }

        impl Code {
            /// Every code, by rising number.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// The stable number.
            pub const fn number(self) -> u16 {
                self as u16
            }

            /// The code with this number.
            pub const fn from_number(number: u16) -> Option<Code> {
                match number {
                    $($number => Some(Code::$variant),)*
                    _ => None,
                }
            }

            /// The name, as the variant is spelled.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Code::$variant => stringify!($variant),)*
                }
            }

            /// One line of human-readable text, without a full stop.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Code::$variant => $text,)*
                }
            }

            /// [`name`](Self::name) for C.
            #[doc(hidden)]
            pub const fn c_name(self) -> &'static CStr {
                match self {
                    $(Code::$variant => const { c_str(concat!(stringify!($variant), "\0")) },)*
                }
            }

            /// [`text`](Self::text) for C.
            #[doc(hidden)]
            pub const fn c_text(self) -> &'static CStr {
                match self {
                    $(Code::$variant => const { c_str(concat!($text, "\0")) },)*
                }
            }

            /// Error or warning.
            pub const fn severity(self) -> Severity {
                match self {
                    $(Code::$variant => Severity::$severity,)*
                }
            }
        }
    };
}

table! {
    // 1-19: the text is not JSON (RFC 8259)
    1 JsonUnexpectedEnd Error "the JSON text ends too early";
    2 JsonUnexpectedByte Error "unexpected byte";
    3 JsonTrailingBytes Error "bytes after the end of the JSON text";
    4 JsonBadNumber Error "not a JSON number";
    5 JsonBadEscape Error "unknown or incomplete escape in a string";
    6 JsonLoneSurrogate Error "half of a surrogate pair";
    7 JsonControlCharacter Error "a control character in a string must be escaped";
    8 JsonNotUtf8 Error "not UTF-8";
    9 JsonTooDeep Error "nested deeper than 128 levels";
    10 JsonByteOrderMark Error "begins with a byte order mark, which JSON must not have";

    // 20-59: the report breaks the contract
    20 Missing Error "required, and missing";
    21 Empty Error "must not be empty";
    22 NotAnObject Error "must be an object";
    23 NotAnArray Error "must be an array";
    24 NotAString Error "must be a string";
    25 NotAnInteger Error "must be an integer";
    26 NotAStringOrObject Error "must be a string or an object";
    27 IntegerOutOfRange Error "does not fit into 64 bits";
    28 NotPositive Error "must be greater than 0";
    29 DuplicateKey Error "duplicate key";
    30 TooLarge Error "the report is larger than 12 MiB (12582912 bytes)";
    31 TimeOutOfRange Error "this time is outside of the years 1970 to 9999";
    32 IntegerNotExact Error "a JavaScript number over 9007199254740991 is not exact: use a bigint";

    // 60-79: likely mistakes
    60 UnknownStatus Warning "not one of the 14 known status names";
    61 LooksLikeSeconds Warning "looks like seconds; milliseconds are wanted";
    62 LooksLikeMicroseconds Warning "looks like microseconds or nanoseconds; milliseconds are wanted";
    63 JobIdOverInt32 Warning "over 2147483647, which some receivers cannot read";
    64 UnknownKey Warning "not a key of this contract; receivers ignore it";
    65 ErrorTimeForm Warning "not of the form YYYY-MM-DD hh:mm:ss";
    66 TopicMissing Warning "missing; the service's older documentation requires it";

    // 80-89: the caller's buffers
    80 BufferTooSmall Error "the buffer is too small";

    // 90-99: a call from another language cannot be as it is
    90 NullPointer Error "NULL where none is allowed";
    91 StructSize Error "unknown struct_size";
    92 OutOfRange Error "value out of range";
    93 Conflict Error "only one of two members may be set";
    94 TooMany Error "too many items for one call";
    95 NotUsable Error "not initialised, ended, or freed";
    96 Poisoned Error "not usable any more after an internal error";
    97 Internal Error "internal error";
    98 InUse Error "in use by a call that has not returned";
    99 NoThread Error "the system gave no thread";

    // 100-129: the request cannot be made as configured
    100 UrlScheme Error "the base URL must begin with http:// or https://";
    101 UrlHost Error "the base URL has no host, or one with an invalid character";
    102 UrlPort Error "the port must be a number from 1 to 65535";
    103 UrlPath Error "the path of the base URL has an invalid character";
    104 UrlUserInfo Error "a user name or password in the base URL is not supported";
    105 UrlQuery Error "the base URL must have no query and no fragment";
    106 ProjectId Error "the project id is empty, `.` or `..`, or has a character that it must not have there";
    107 HeaderName Error "not a valid header name";
    108 HeaderValue Error "a header value must be without control characters";
    109 HeaderTwice Error "duplicate header";
    110 AccessKey Error "the access key is empty or has a character that is invalid in a header";
    111 SecretKey Error "the secret key is empty, or has white space around it";
    112 Token Error "the token is empty or has a character that is invalid in a header";
    113 SignatureDate Error "X-Sdk-Date is not of the form YYYYMMDDThhmmssZ";
    114 PlainHttp Error "http:// is refused except to loopback addresses, unless plain HTTP is explicitly allowed";
    115 CaCertificate Error "no usable CA certificate";
    116 ClientCertificate Error "no usable client certificate or key, or the two do not match";
    117 Proxy Error "no usable proxy URL";
    118 UserAgent Error "the user agent has a character that is invalid in a header";
    119 TlsSetup Error "TLS could not be set up";
    120 Tls Error "the TLS handshake failed";
    121 RequestLine Error "the method or the path has a character that is invalid in a request line";
    122 ServiceCodes Error "the service codes must be 1 to 8 prefixes, each of printable ASCII and not empty";
    123 UrlEndpoint Error "the base URL must end before /v1/{project_id}/edgesrv/job-report";

    // 140-149: one exchange failed
    140 NotSent Error "not sent";
    141 MayHaveArrived Error "may have arrived";
    142 Overtaken Error "a newer report of the same job was accepted";

    // 150-169: reports that wait
    150 OutboxFull Error "the outbox is full";
    151 TooLargeForOutbox Error "the report is larger than the outbox";
    152 Storage Error "the storage failed";
    153 OtherFormat Error "the outbox was written in another format";
    154 TooManySegments Error "the outbox has too many segments";
    155 StaleTicket Error "this ticket is not in flight";
    156 SpoolInUse Error "the spool is in use";
    157 SpoolOptions Error "the options of the spool do not fit together";
    158 LettersFull Error "the dead letters are full, and none may be dropped";
    159 SpoolDirectory Error "the spool's directory is not safe to use";

    // 170-179: what Flink answers
    170 FlinkJobId Error "not a Flink job id of 32 hex digits";
    171 FlinkStatus Error "Flink answered with an error";
    172 FlinkOtherJob Error "the response is about another job";
    173 FlinkNotAsked Error "nothing was asked";
    174 FlinkTable Error "not a table of jobs that was kept, or a damaged one";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Code {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_has_the_same_names_and_texts() {
        for code in Code::ALL {
            assert_eq!(code.c_name().to_str(), Ok(code.name()));
            assert_eq!(code.c_text().to_str(), Ok(code.text()));
        }
    }

    #[test]
    fn numbers_rise_and_lead_back() {
        assert!(Code::ALL.is_sorted_by(|a, b| a.number() < b.number()));
        for &code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), Some(code));
        }
        assert_eq!(Code::from_number(0), None, "0 is OK in C");
    }
}
