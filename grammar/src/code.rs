//! Stable codes of diagnostics.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $title:literal;)*) => {
        /// A stable code. Numbers are never given to another mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code, by number.
            pub const ALL: &[Code] = &[$(Code::$name),*];

            /// As it is shown: `TS0301`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => concat!("TS", $number),)* }
            }

            /// What it is about, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }

            /// Whether it is told of a mapping alone, and not of one with a checkpoint.
            #[must_use]
            pub fn needs_no_checkpoint(self) -> bool {
                match self {
                    Code::AlternativeCondition | Code::NamesOfOneParameter => true,
                    Code::UnwritableFile => false,
                    _ => !self.as_str().starts_with("TS06"),
                }
            }

            /// The long form: what the mistake is, an example, and the way out. Markdown.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Code::$name => include_str!(concat!("explain/TS", $number, ".md")),)* }
            }
        }
    };
}

codes! {
    /// Text that is no mapping.
    Syntax = "0001", "syntax error";
    /// A declaration or an option where it does not belong.
    Misplaced = "0002", "misplaced part";
    /// A side that the first line does not name.
    UnknownSide = "0101", "unknown side";
    /// Two declarations of one name.
    DuplicateName = "0102", "duplicate name";
    /// A module that is not declared.
    UnknownModule = "0103", "unknown module";
    /// An axis without a size.
    UnknownAxis = "0104", "unknown axis";
    /// A rank axis that its side does not declare.
    UnknownRank = "0105", "unknown rank axis";
    /// A place in a document that its side does not have.
    UnknownDocument = "0106", "unknown document";
    /// A dtype that does not exist.
    UnknownDType = "0107", "unknown dtype";
    /// A word that is no config value.
    UnknownConfig = "0108", "unknown config value";
    /// A module used with too many or too few axes.
    WrongArity = "0109", "wrong number of axes";
    /// A word that is none of the choices here.
    UnknownOption = "0110", "unknown option";
    /// A declaration that nothing uses.
    Unused = "0111", "unused declaration";
    /// An import of something that cannot be read.
    ImportNotFound = "0112", "import not found";
    /// A library that imports itself.
    ImportCycle = "0113", "import cycle";
    /// A mapping where a library belongs, or a library where a mapping does.
    NotALibrary = "0114", "mapping for library";
    /// A text, or something in it, that is longer or nests deeper than any mapping does.
    OverLimit = "0115", "over a limit";
    /// More mistakes than are told at once.
    TooManyMistakes = "0116", "too many mistakes";
    /// A word that stands for a config value where an index of its name is meant.
    IndexReadAsValue = "0117", "index that is read as a config value";
    /// One axis twice in a layout.
    AmbiguousAxis = "0201", "ambiguous axis";
    /// A dimension that is a bare number.
    BareNumber = "0202", "dimension without a name";
    /// A part of a sum with a size and no label.
    UnlabelledArm = "0203", "part without a label";
    /// One label twice in a sum.
    DuplicateLabel = "0204", "duplicate label";
    /// Padding where none can be.
    MisplacedPadding = "0205", "misplaced padding";
    /// A layout that contains itself.
    RecursiveLayout = "0206", "recursive layout";
    /// An axis both in the name and in memory.
    TwoHomes = "0207", "axis with two homes";
    /// One rank axis twice over one parameter.
    RankTwice = "0208", "rank axis twice";
    /// A layout with more parts than can be dealt with.
    LayoutTooWide = "0209", "layout with too many parts";
    /// A mapping that stands for more than can be dealt with.
    UnfoldsTooFar = "0210", "mapping that unfolds too far";
    /// A product that is written with a sign.
    ProductSign = "0211", "product written with a sign";
    /// An axis that one side of a rule lacks.
    AxisOnOneSide = "0301", "axis on one side only";
    /// A part that one side of a rule lacks.
    LabelOnOneSide = "0302", "part on one side only";
    /// Padding on both sides of a rule.
    PaddingOnBothSides = "0303", "padding on both sides";
    /// Roles that differ between the sides.
    RoleMismatch = "0304", "roles differ";
    /// A parameter that one of two modules lacks.
    SlotOnOneSide = "0305", "module parameter on one side only";
    /// A layout on one side only.
    LayoutOnOneSide = "0306", "layout on one side only";
    /// A module against a single parameter.
    ModuleAgainstParameter = "0307", "module against a parameter";
    /// Stars that differ, or stars with a layout.
    WildcardMismatch = "0308", "stars do not pair up";
    /// Lists of names that differ in length.
    ListMismatch = "0309", "lists do not pair up";
    /// An arithmetic step that cannot be undone.
    NotInvertible = "0310", "step without an inverse";
    /// Ranges of an index that differ between the sides.
    RangeMismatch = "0311", "ranges differ";
    /// One index twice in a name.
    IndexTwice = "0312", "index twice in a name";
    /// A name that two rules claim.
    NamesOverlap = "0401", "names overlap";
    /// A name whose parts run into one another.
    AmbiguousName = "0402", "ambiguous name";
    /// A number in a name that does not tell the index.
    IndexNotInvertible = "0403", "index without an inverse";
    /// A tie to something that is no parameter.
    UnknownTie = "0404", "unknown tie";
    /// An arm that is never taken.
    UnreachableArm = "0405", "unreachable arm";
    /// A mapping without rules.
    NoRules = "0406", "no rules";
    /// A name with too many alternatives.
    NameTooWide = "0407", "too many alternatives";
    /// A choice or a size that depends on an index that the name does not fix.
    IndexNotInName = "0408", "index not in the name";
    /// Names that no code can be generated for.
    NotDerivable = "0409", "names that no code can be generated for";
    /// An output that its file format cannot hold.
    UnwritableFile = "0410", "output that no file can hold";
    /// An equation that cannot be solved.
    Unsolvable = "0501", "unsolvable equation";
    /// A value of another type than declared.
    TypeMismatch = "0502", "type mismatch";
    /// Two lines that write one place.
    PlaceTwice = "0503", "place written twice";
    /// An expression that is no size.
    NotASize = "0504", "not a size";
    /// A config value that nothing gives.
    FieldWithoutSource = "0505", "config value without a source";
    /// A place that is called like a config value.
    PlaceLikeValue = "0506", "place called like a config value";
    /// A config value whose type nothing tells.
    UntypedValue = "0507", "config value without a type";
    /// A part of the language that this version cannot execute.
    NotSupported = "0601", "not supported yet";
    /// Parameters that a rule needs and the checkpoint lacks.
    MissingParameter = "0602", "missing parameter";
    /// Parameters of the checkpoint that no rule takes.
    UnmappedParameter = "0603", "parameter without a rule";
    /// A stored shape that does not fit its layout.
    ShapeMismatch = "0604", "shape does not fit";
    /// Two sources that give a config value differently.
    ConfigConflict = "0605", "sources disagree";
    /// A config value that no source gives.
    UnknownValue = "0606", "value not known";
    /// A size that does not divide.
    NotDivisible = "0607", "size does not divide";
    /// A parameter stored under the names of two eras.
    TwoEras = "0608", "two names for one parameter";
    /// A copy that differs from its original.
    BrokenTie = "0609", "copy differs";
    /// A condition of the mapping that does not hold.
    RequirementFailed = "0610", "requirement not met";
    /// Copies along a broadcast axis that differ.
    BroadcastDiffers = "0611", "broadcast copies differ";
    /// Numbers in names with a gap.
    IndexGap = "0612", "gap in numbering";
    /// A checkpoint of neither side.
    WrongCheckpoint = "0613", "not this mapping's checkpoint";
    /// A config value that no arm of a match takes.
    NoArm = "0614", "no arm for a value";
    /// A vocabulary or other size larger than the stored table.
    TableTooSmall = "0615", "table too small";
    /// A conversion between dtypes that is not defined.
    UndefinedCast = "0616", "cast not defined";
    /// A setting that the mapping does not have.
    UnknownSetting = "0617", "unknown setting";
    /// A parameter in a dtype that cannot be read.
    UnsupportedTensor = "0618", "tensor cannot be read";
    /// A rank that the checkpoint should have and has not.
    MissingRank = "0619", "missing rank";
    /// Ranks whose configs differ.
    RanksDisagree = "0620", "ranks disagree";
    /// Copies of a parameter on several ranks that differ.
    ReplicasDiffer = "0621", "replicas differ";
    /// An axis that ranks cannot share evenly.
    UnevenRanks = "0622", "ranks cannot share evenly";
    /// A condition of an alternative that cannot decide which one is written.
    AlternativeCondition = "0640", "condition of an alternative";
    /// Two names that are of one parameter under some branches alone, both used by a model.
    NamesOfOneParameter = "0641", "names of one parameter";
    /// A document of the mapping that cannot be read.
    UnreadableDocument = "0645", "document cannot be read";
    /// A setting that names several config values.
    AmbiguousSetting = "0646", "ambiguous setting";
    /// An element that a comparison takes from another place than its layout says.
    PlacesDisagree = "0650", "two ways to find an element disagree";
    /// Elements that a comparison found to be the same and that differ, or the other way round.
    VerdictsDisagree = "0651", "two ways to compare disagree";
    /// Elements that a comparison leaves out.
    ElementsUnreached = "0652", "elements not compared";
    /// A key of the config that changes what the model computes, and that the mapping does not express.
    OtherMaths = "0635", "other maths than the mapping's";
    /// A checkpoint whose config says that it is another model.
    OtherFamily = "0636", "another family of models";
    /// A config value that is to say how much padding there is, and cannot.
    PaddingRows = "0630", "no number of rows of padding";
    /// Padding that the rule's `fill` is not defined for.
    FillUndefined = "0631", "padding that cannot be filled so";
    /// Parts of one parameter whose dtypes no dtype holds.
    NoCommonDType = "0623", "parts without a common dtype";
    /// Copies of integers on several ranks that were to be added up.
    IntegerReplicas = "0624", "integers are not added up";
    /// A word of a model that stands for nothing.
    UnknownModelName = "0701", "unknown name in a model";
    /// Values over unlike axes, added, multiplied or joined.
    AxesDiffer = "0702", "unlike axes meet";
    /// A parameter that a model does not use.
    UnusedParameter = "0703", "parameter that the model does not use";
    /// A module whose kind is not said, in a model.
    ModuleWithoutKind = "0704", "module without a kind";
    /// A kind that does not exist, or that has other axes.
    ModuleKind = "0705", "wrong kind of module";
    /// An operation that is given too much, too little or something it does not take.
    WrongOperands = "0706", "wrong operands";
    /// Something that is not what the operation works on.
    WrongOperand = "0707", "operand of the wrong sort";
    /// Coordinates of one axis in a table over another.
    WrongTable = "0708", "coordinates of another axis";
    /// A value taken apart into parts that it does not have.
    NotASum = "0709", "value without these parts";
    /// Query, key, value and mask that do not fit together.
    AttentionShape = "0710", "attention over unlike axes";
    /// An axis that a value does not have, or that the operation cannot go along.
    WrongAxis = "0711", "axis that the value does not have";
    /// A count that is no config value.
    WrongCount = "0712", "count without a name";
    /// A loop over something without an index.
    ScopeWithoutIndex = "0713", "nothing to go over";
    /// A value that has other axes after a pass of a loop than before it.
    CarriedType = "0714", "value that changes its axes in a loop";
    /// Branches that lead to values over unlike axes.
    BranchType = "0715", "branches that differ";
    /// A choice without an arm for every value.
    MissingArm = "0716", "missing arm";
    /// A choice that a model cannot make.
    WrongCondition = "0717", "condition that a model cannot decide";
    /// A result that is not what is declared.
    ResultType = "0718", "result of another type";
    /// A parameter whose layout the operation cannot take.
    LayoutForOperation = "0719", "layout that the operation cannot take";
    /// A parameter that is there for some configs only, used for all.
    GuardedParameter = "0720", "parameter that is not always there";
    /// A function that calls itself.
    RecursiveFunction = "0721", "recursive function";
    /// An argument of a model, or the name of a loop, that is bound again.
    Shadowed = "0722", "name bound again";
    /// A model or function that is declared in a way that it cannot be.
    Signature = "0723", "wrong signature";
}

impl Code {
    /// The code written `text`, upper or lower case, with or without `TS`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Code> {
        let upper = text.to_ascii_uppercase();
        let digits = upper.strip_prefix("TS").unwrap_or(&upper);
        Code::ALL.iter().copied().find(|c| c.as_str().strip_prefix("TS") == Some(digits))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
