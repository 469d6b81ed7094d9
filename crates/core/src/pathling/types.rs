//! Which resource types each Pathling can hold.

use crate::config::Dialect;

/// Resource types that a target cannot hold although FHIR R4 has them.
///
/// Read in each server's source: the encoders of Pathling 7 leave out `Task`, those of Pathling Server 2
/// `StructureDefinition`.
const NEVER_HELD: &[&str] = &["Bundle", "Parameters", "StructureMap"];

impl Dialect {
    /// Whether a target of this dialect can hold resources of this type.
    #[must_use]
    pub fn holds(self, resource_type: &str) -> bool {
        let left_out = match self {
            Self::Seven => "Task",
            Self::Two => "StructureDefinition",
        };
        resource_type != left_out && is_r4(resource_type) && !NEVER_HELD.contains(&resource_type)
    }
}

/// Whether a target of `dialect` can hold this type; where the dialect is not known, whether any can.
#[must_use]
pub fn holds(dialect: Option<Dialect>, resource_type: &str) -> bool {
    match dialect {
        Some(dialect) => dialect.holds(resource_type),
        None => Dialect::Seven.holds(resource_type) || Dialect::Two.holds(resource_type),
    }
}

/// Whether it is a type of FHIR R4. Both Pathlings are servers of that, and refuse the types of other releases.
#[must_use]
pub fn is_r4(resource_type: &str) -> bool {
    R4_TYPES.binary_search(&resource_type).is_ok()
}

/// The resource types of FHIR R4 (4.0.1), sorted.
#[rustfmt::skip]
const R4_TYPES: &[&str] = &[
    "Account", "ActivityDefinition", "AdverseEvent", "AllergyIntolerance", "Appointment",
    "AppointmentResponse", "AuditEvent", "Basic", "Binary", "BiologicallyDerivedProduct", "BodyStructure",
    "Bundle", "CapabilityStatement", "CarePlan", "CareTeam", "CatalogEntry", "ChargeItem",
    "ChargeItemDefinition", "Claim", "ClaimResponse", "ClinicalImpression", "CodeSystem", "Communication",
    "CommunicationRequest", "CompartmentDefinition", "Composition", "ConceptMap", "Condition", "Consent",
    "Contract", "Coverage", "CoverageEligibilityRequest", "CoverageEligibilityResponse", "DetectedIssue",
    "Device", "DeviceDefinition", "DeviceMetric", "DeviceRequest", "DeviceUseStatement", "DiagnosticReport",
    "DocumentManifest", "DocumentReference", "EffectEvidenceSynthesis", "Encounter", "Endpoint",
    "EnrollmentRequest", "EnrollmentResponse", "EpisodeOfCare", "EventDefinition", "Evidence",
    "EvidenceVariable", "ExampleScenario", "ExplanationOfBenefit", "FamilyMemberHistory", "Flag", "Goal",
    "GraphDefinition", "Group", "GuidanceResponse", "HealthcareService", "ImagingStudy", "Immunization",
    "ImmunizationEvaluation", "ImmunizationRecommendation", "ImplementationGuide", "InsurancePlan",
    "Invoice", "Library", "Linkage", "List", "Location", "Measure", "MeasureReport", "Media", "Medication",
    "MedicationAdministration", "MedicationDispense", "MedicationKnowledge", "MedicationRequest",
    "MedicationStatement", "MedicinalProduct", "MedicinalProductAuthorization",
    "MedicinalProductContraindication", "MedicinalProductIndication", "MedicinalProductIngredient",
    "MedicinalProductInteraction", "MedicinalProductManufactured", "MedicinalProductPackaged",
    "MedicinalProductPharmaceutical", "MedicinalProductUndesirableEffect", "MessageDefinition",
    "MessageHeader", "MolecularSequence", "NamingSystem", "NutritionOrder", "Observation",
    "ObservationDefinition", "OperationDefinition", "OperationOutcome", "Organization",
    "OrganizationAffiliation", "Parameters", "Patient", "PaymentNotice", "PaymentReconciliation", "Person",
    "PlanDefinition", "Practitioner", "PractitionerRole", "Procedure", "Provenance", "Questionnaire",
    "QuestionnaireResponse", "RelatedPerson", "RequestGroup", "ResearchDefinition",
    "ResearchElementDefinition", "ResearchStudy", "ResearchSubject", "RiskAssessment",
    "RiskEvidenceSynthesis", "Schedule", "SearchParameter", "ServiceRequest", "Slot", "Specimen",
    "SpecimenDefinition", "StructureDefinition", "StructureMap", "Subscription", "Substance",
    "SubstanceNucleicAcid", "SubstancePolymer", "SubstanceProtein", "SubstanceReferenceInformation",
    "SubstanceSourceMaterial", "SubstanceSpecification", "SupplyDelivery", "SupplyRequest", "Task",
    "TerminologyCapabilities", "TestReport", "TestScript", "ValueSet", "VerificationResult",
    "VisionPrescription",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_knows_the_types_that_it_cannot_hold() {
        assert!(R4_TYPES.is_sorted());
        assert_eq!(R4_TYPES.len(), 146);
        for held in ["Patient", "Observation", "Binary", "Questionnaire"] {
            assert!(
                Dialect::Seven.holds(held) && Dialect::Two.holds(held),
                "{held}"
            );
        }
        for never in [
            "Bundle",
            "Parameters",
            "StructureMap",
            "NutritionProduct",
            "Foo",
        ] {
            assert!(!holds(None, never), "{never}");
        }
        assert!(!Dialect::Seven.holds("Task") && Dialect::Two.holds("Task") && holds(None, "Task"));
        assert!(
            !Dialect::Two.holds("StructureDefinition")
                && Dialect::Seven.holds("StructureDefinition")
        );
    }
}
