/* Imports from the filter manager. */
#include "import.h"
    IMPORTS_BEGIN fltmgr.sys
    IMPORT FltRegisterFilter, 12
    IMPORT FltStartFiltering, 4
    IMPORT FltUnregisterFilter, 4
    IMPORT FltBuildDefaultSecurityDescriptor, 8
    IMPORT FltFreeSecurityDescriptor, 4
    IMPORT FltCreateCommunicationPort, 32
    IMPORT FltCloseCommunicationPort, 4
    IMPORT FltSendMessage, 28
    IMPORT FltAllocateGenericWorkItem, 0
    IMPORT FltFreeGenericWorkItem, 4
    IMPORT FltQueueGenericWorkItem, 20
    IMPORT FltGetRoutineAddress, 4
    IMPORT FltGetFileNameInformation, 12
    IMPORT FltAllocateContext, 20
    IMPORTS_END
